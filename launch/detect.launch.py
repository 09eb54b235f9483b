"""Detect objects in a live camera.

ros2 launch synth_detect_ros detect.launch.py model:=run/bundle image:=/camera/rgb/image_raw
"""

from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription


def generate_launch_description():
    config = PathJoinSubstitution([FindPackageShare('synth_detect_ros'), 'config'])
    image = LaunchConfiguration('image')
    return LaunchDescription(
        [
            DeclareLaunchArgument('model', description='folder of the trained model (bundle)'),
            DeclareLaunchArgument('image', default_value='/image_raw', description='image topic'),
            DeclareLaunchArgument(
                'score_threshold',
                default_value='0.5',
                description='detections below are not published',
            ),
            DeclareLaunchArgument('device', default_value='auto', description='auto, cpu, cuda'),
            DeclareLaunchArgument(
                'params',
                description='parameter file of the node',
                default_value=PathJoinSubstitution([config, 'detect.yaml']),
            ),
            DeclareLaunchArgument(
                'rviz', default_value='false', description='show everything in RViz'
            ),
            Node(
                package='synth_detect_ros',
                executable='detect_node',
                name='detect_node',
                output='screen',
                # Threads of the network soon sleep after a layer instead of spinning on cores
                # that the camera driver and the transport need.
                additional_env={'GOMP_SPINCOUNT': '1000'},
                parameters=[
                    LaunchConfiguration('params'),
                    {
                        'model': ParameterValue(LaunchConfiguration('model'), value_type=str),
                        'device': ParameterValue(LaunchConfiguration('device'), value_type=str),
                        'score_threshold': ParameterValue(
                            LaunchConfiguration('score_threshold'), value_type=float
                        ),
                    },
                ],
                remappings=[('image', image)],
            ),
            Node(
                package='rviz2',
                executable='rviz2',
                condition=IfCondition(LaunchConfiguration('rviz')),
                arguments=['-d', PathJoinSubstitution([config, 'detect.rviz'])],
                remappings=[('/image', image)],
            ),
        ]
    )
