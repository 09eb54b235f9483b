"""Detect objects in a live camera.

ros2 launch synth_detect_ros detect.launch.py model:=run/bundle image:=/camera/rgb/image_raw
"""

from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from synth_detect_ros.nodes.launching import GivenParameters


def generate_launch_description():
    config = PathJoinSubstitution([FindPackageShare('synth_detect_ros'), 'config'])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'model', default_value='', description='folder of the trained model (bundle)'
            ),
            DeclareLaunchArgument('image', default_value='/image_raw', description='image topic'),
            DeclareLaunchArgument(
                'score_threshold',
                default_value='',
                description='detections below are not published',
            ),
            DeclareLaunchArgument(
                'trust_code',
                default_value='',
                description="SHA-256 of the code of the model's own extractor, if it has one",
            ),
            DeclareLaunchArgument('device', default_value='', description='auto, cpu, cuda'),
            DeclareLaunchArgument(
                'params',
                description='parameter file of the node; arguments override it',
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
                    GivenParameters(
                        {'model': str, 'trust_code': str, 'device': str, 'score_threshold': float}
                    ),
                ],
                remappings=[('image', LaunchConfiguration('image'))],
            ),
            Node(
                package='rviz2',
                executable='rviz2',
                condition=IfCondition(LaunchConfiguration('rviz')),
                arguments=['-d', PathJoinSubstitution([config, 'detect.rviz'])],
                remappings=[('/image', LaunchConfiguration('image'))],
            ),
        ]
    )
