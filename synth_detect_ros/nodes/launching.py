"""What the launch files share."""

from __future__ import annotations

from collections.abc import Mapping
from tempfile import NamedTemporaryFile

import yaml
from launch.substitutions import LaunchConfiguration
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, Substitution


class GivenParameters(Substitution):
    """A parameter file with the launch arguments that are given, those that are not empty.

    As the last of a node's `parameters` it overrides what stands before it, and nothing else.

    Args:
        arguments: launch argument -> type of the parameter.
        names: launch argument -> parameter, where the two differ.
    """

    def __init__(self, arguments: Mapping[str, type], names: Mapping[str, str] = {}) -> None:
        super().__init__()
        self._arguments, self._names = arguments, names

    def perform(self, context: LaunchContext) -> str:
        """Write the file and return its path."""
        given = {
            self._names.get(argument, argument): ParameterValue(
                LaunchConfiguration(argument), value_type=kind
            ).evaluate(context)
            for argument, kind in self._arguments.items()
            if LaunchConfiguration(argument).perform(context)
        }
        # rcl merges sections of one pattern where the first of them stands. This pattern, every
        # node, is none that people write, so the section comes last and wins.
        with NamedTemporaryFile('w', prefix='launch_arguments_', delete=False) as file:
            yaml.safe_dump({'/**/*': {'ros__parameters': given}}, file)
        return file.name
