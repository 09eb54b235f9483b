"""Play a folder of images, a video or a bag as a camera.

ros2 launch synth_detect_ros camera_replay.launch.py source:=recording.bag loop:=true
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument('source', description='folder, video, ROS 1 or ROS 2 bag'),
            DeclareLaunchArgument(
                'calibration',
                default_value='',
                description='calibration file; empty: camera.yaml beside the images',
            ),
            DeclareLaunchArgument(
                'topic', default_value='', description='image topic inside a bag'
            ),
            DeclareLaunchArgument('rate_hz', default_value='10.0', description='frames a second'),
            DeclareLaunchArgument(
                'loop', default_value='false', description='start again at the end'
            ),
            DeclareLaunchArgument(
                'compressed', default_value='false', description='publish JPEG as well'
            ),
            DeclareLaunchArgument('image', default_value='/image_raw', description='image topic'),
            DeclareLaunchArgument(
                'camera_info', default_value='/camera_info', description='its CameraInfo topic'
            ),
            Node(
                package='synth_detect_ros',
                executable='camera_replay_node',
                output='screen',
                parameters=[
                    {
                        'source': ParameterValue(LaunchConfiguration('source'), value_type=str),
                        'camera': ParameterValue(
                            LaunchConfiguration('calibration'), value_type=str
                        ),
                        'topic': ParameterValue(LaunchConfiguration('topic'), value_type=str),
                        'rate_hz': ParameterValue(
                            LaunchConfiguration('rate_hz'), value_type=float
                        ),
                        'loop': ParameterValue(LaunchConfiguration('loop'), value_type=bool),
                        'compressed': ParameterValue(
                            LaunchConfiguration('compressed'), value_type=bool
                        ),
                    }
                ],
                remappings=[
                    ('image', LaunchConfiguration('image')),
                    ('camera_info', LaunchConfiguration('camera_info')),
                ],
            ),
        ]
    )
