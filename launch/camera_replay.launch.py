"""Play a folder of images, a video or a bag as a camera.

ros2 launch synth_detect_ros camera_replay.launch.py source:=recording.bag loop:=true
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from synth_detect_ros.nodes.launching import GivenParameters


def generate_launch_description():
    share = FindPackageShare('synth_detect_ros')
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'source', default_value='', description='folder, video, ROS 1 or ROS 2 bag'
            ),
            DeclareLaunchArgument(
                'calibration',
                default_value='',
                description='calibration file; empty: camera.yaml beside the images',
            ),
            DeclareLaunchArgument(
                'topic', default_value='', description='image topic inside a bag'
            ),
            DeclareLaunchArgument('rate_hz', default_value='', description='frames a second'),
            DeclareLaunchArgument(
                'loop', default_value='', description='true: start again at the end'
            ),
            DeclareLaunchArgument(
                'compressed', default_value='', description='true: publish JPEG as well'
            ),
            DeclareLaunchArgument(
                'params',
                description='parameter file; arguments override it',
                default_value=[share, '/config/camera_replay.yaml'],
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
                    LaunchConfiguration('params'),
                    GivenParameters(
                        {
                            **{'source': str, 'calibration': str, 'topic': str},
                            **{'rate_hz': float, 'loop': bool, 'compressed': bool},
                        },
                        {'calibration': 'camera'},
                    ),
                ],
                remappings=[
                    ('image', LaunchConfiguration('image')),
                    ('camera_info', LaunchConfiguration('camera_info')),
                ],
            ),
        ]
    )
