"""Play a folder of images, a video or a bag as a camera.

ros2 launch synth_detect_ros camera_replay.launch.py source:=recording.bag loop:=true
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

# Argument: parameter of the node and its type.
PARAMETERS = {
    'source': ('source', str),
    'calibration': ('camera', str),
    'topic': ('topic', str),
    'rate_hz': ('rate_hz', float),
    'loop': ('loop', bool),
    'compressed': ('compressed', bool),
}


def generate_launch_description():
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
            DeclareLaunchArgument(
                'rate_hz', default_value='', description='frames a second; empty: 10'
            ),
            DeclareLaunchArgument(
                'loop', default_value='', description='true: start again at the end'
            ),
            DeclareLaunchArgument(
                'compressed', default_value='', description='true: publish JPEG as well'
            ),
            DeclareLaunchArgument(
                'params', default_value='', description='parameter file; arguments override it'
            ),
            DeclareLaunchArgument('image', default_value='/image_raw', description='image topic'),
            DeclareLaunchArgument(
                'camera_info', default_value='/camera_info', description='its CameraInfo topic'
            ),
            OpaqueFunction(function=start_node),
        ]
    )


def start_node(context):
    """Start the node; an argument that is not given leaves its parameter to the file."""
    given = {
        parameter: ParameterValue(LaunchConfiguration(argument), value_type=kind)
        for argument, (parameter, kind) in PARAMETERS.items()
        if LaunchConfiguration(argument).perform(context)
    }
    params = LaunchConfiguration('params')
    return [
        Node(
            package='synth_detect_ros',
            executable='camera_replay_node',
            output='screen',
            parameters=[params, given] if params.perform(context) else [given],
            remappings=[
                ('image', LaunchConfiguration('image')),
                ('camera_info', LaunchConfiguration('camera_info')),
            ],
        )
    ]
