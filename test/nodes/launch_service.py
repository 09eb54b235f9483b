"""ROS 2's launch with scripts in place of the nodes, which note how they are started."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription, LaunchService

EXECUTABLES = {
    'synth_detect_ros': ('camera_replay_node', 'detect_node', 'synthesize_node'),
    'rviz2': ('rviz2',),
}
SCRIPT = '#!/bin/sh\nprintf "%s\\n" "GOMP_SPINCOUNT=$GOMP_SPINCOUNT" "$@" > "$0.arguments"\n'
# Parameters that every node has.
COMMON = ('use_sim_time', 'start_type_description_service')


class Launch:
    """Runs the launch files of a checkout.

    Args:
        root: the checkout.
        prefix: empty folder for an installation, which AMENT_PREFIX_PATH names.
    """

    def __init__(self, root: Path, prefix: Path) -> None:
        self._root, self._prefix = root, prefix
        index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
        index.mkdir(parents=True)
        for package, executables in EXECUTABLES.items():
            (index / package).touch()
            (prefix / 'lib' / package).mkdir(parents=True)
            for executable in executables:
                script = prefix / 'lib' / package / executable
                script.write_text(SCRIPT)
                script.chmod(0o755)
        (prefix / 'share' / 'synth_detect_ros').symlink_to(root)

    def __call__(self, name: str, **arguments: str) -> dict[str, dict[str, Any]]:
        """Return what is started, by executable."""
        path = str(self._root / 'launch' / f'{name}.launch.py')
        source = PythonLaunchDescriptionSource(path)
        included = IncludeLaunchDescription(source, launch_arguments=arguments.items())
        service = LaunchService(noninteractive=True)
        service.include_launch_description(LaunchDescription([included]))
        if service.run():
            raise RuntimeError(f'{name} does not start')
        noted = (self._prefix / 'lib').rglob('*.arguments')
        return {path.stem: _started(path) for path in noted}


def _started(path: Path) -> dict[str, Any]:
    environment, *arguments = path.read_text().splitlines()
    path.unlink()
    context = rclpy.Context()
    rclpy.init(args=arguments, context=context)
    node = rclpy.create_node(
        path.stem, context=context, automatically_declare_parameters_from_overrides=True
    )
    parameters = node.get_parameters_by_prefix('')
    node.destroy_node()
    context.try_shutdown()
    rules = [rule for word, rule in pairwise(arguments) if word == '-r']
    return {
        'parameters': {name: p.value for name, p in parameters.items() if name not in COMMON},
        'remappings': dict(r.split(':=') for r in rules if not r.startswith('__')),
        'arguments': arguments[: arguments.index('--ros-args')],
        'environment': dict([environment.split('=')]),
    }
