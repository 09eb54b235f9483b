"""Capture backgrounds of a camera; with render:=true render the data set over them, then exit.

ros2 launch synth_detect_ros synthesize.launch.py camera:=asus_xtion out:=backgrounds
"""

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from synth_detect_ros.nodes.launching import GivenParameters

# Topics as the launch files of flir_camera_driver and openni2_camera make them.
IMAGE = {
    'ptgrey_blackfly': '/flir_camera/image_raw',
    'asus_xtion': '/camera/rgb/image_raw',
    'generic': '/image_raw',
}
CAMERA_INFO = {
    'ptgrey_blackfly': '/flir_camera/camera_info',
    'asus_xtion': '/camera/rgb/camera_info',
    'generic': '/camera_info',
}


def generate_launch_description():
    camera = LaunchConfiguration('camera')
    profiles = PathJoinSubstitution([FindPackageShare('synth_detect_ros'), 'config', 'cameras'])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'camera',
                default_value='generic',
                choices=sorted(IMAGE),
                description='profile: topics and config/cameras/<camera>.yaml',
            ),
            DeclareLaunchArgument(
                'image',
                description='image topic',
                default_value=PythonExpression([str(IMAGE), '["', camera, '"]']),
            ),
            DeclareLaunchArgument(
                'camera_info',
                description='its CameraInfo topic',
                default_value=PythonExpression([str(CAMERA_INFO), '["', camera, '"]']),
            ),
            DeclareLaunchArgument(
                'out', default_value='', description='folder of the background set'
            ),
            DeclareLaunchArgument('count', default_value='', description='frames to keep'),
            DeclareLaunchArgument(
                'render', default_value='', description='true: render the data set afterwards'
            ),
            DeclareLaunchArgument(
                'synthesize',
                default_value='',
                description='what to render, see config/synthesize.yaml',
            ),
            DeclareLaunchArgument(
                'params',
                description='parameter file, overridden by arguments; that of the profile '
                'unless given',
                default_value=[profiles, '/', camera, '.yaml'],
            ),
            Node(
                package='synth_detect_ros',
                executable='synthesize_node',
                output='screen',
                parameters=[
                    LaunchConfiguration('params'),
                    GivenParameters({'out': str, 'count': int, 'render': bool, 'synthesize': str}),
                ],
                remappings=[
                    ('image', LaunchConfiguration('image')),
                    ('camera_info', LaunchConfiguration('camera_info')),
                ],
                on_exit=Shutdown(),
            ),
        ]
    )
