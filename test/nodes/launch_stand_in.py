"""What the launch files use of launch and launch_ros, for machines that have neither.

Actions run in their order, as in ROS 2; a node is recorded instead of started.
"""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml


@dataclass
class Context:
    """A run of one launch file: values of its arguments, and what came of it."""

    launch_configurations: dict[str, str]
    share: Path
    read: set[str] = field(default_factory=set)
    nodes: list[dict[str, Any]] = field(default_factory=list)


def text(value: Any, context: Context) -> str:
    """Return the text of a string, a substitution or a sequence of both."""
    if isinstance(value, str):
        return value
    if hasattr(value, 'perform'):
        return value.perform(context)
    return ''.join(text(part, context) for part in value)


@dataclass
class LaunchConfiguration:
    name: str

    def perform(self, context: Context) -> str:
        context.read.add(self.name)
        return context.launch_configurations[self.name]


@dataclass
class PathJoinSubstitution:
    parts: list[Any]

    def perform(self, context: Context) -> str:
        return '/'.join(text(part, context) for part in self.parts)


@dataclass
class PythonExpression:
    parts: list[Any]

    def perform(self, context: Context) -> str:
        return str(eval(text(self.parts, context)))


@dataclass
class FindPackageShare:
    package: str

    def perform(self, context: Context) -> str:
        return str(context.share)


@dataclass
class IfCondition:
    value: Any

    def holds(self, context: Context) -> bool:
        return yaml.safe_load(text(self.value, context)) is True


@dataclass
class ParameterValue:
    value: Any
    value_type: type

    def evaluate(self, context: Context) -> Any:
        words = text(self.value, context)
        value = words if self.value_type is str else yaml.safe_load(words)
        value = float(value) if self.value_type is float else value
        assert type(value) is self.value_type, f'{words!r} is no {self.value_type}'
        return value


@dataclass
class DeclareLaunchArgument:
    name: str
    default_value: Any = None
    description: str = ''
    choices: list[str] | None = None

    def execute(self, context: Context) -> None:
        values = context.launch_configurations
        if self.name not in values:
            assert self.default_value is not None, f'{self.name} is required'
            values[self.name] = text(self.default_value, context)
        if self.choices and values[self.name] not in self.choices:
            raise RuntimeError(f'{self.name}: {values[self.name]!r} is none of {self.choices}')


class Substitution:
    pass


@dataclass
class Node:
    package: str
    executable: str
    name: str = ''
    output: str = ''
    condition: IfCondition | None = None
    parameters: list[Any] = field(default_factory=list)
    remappings: list[tuple[str, Any]] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)
    additional_env: dict[str, str] = field(default_factory=dict)
    on_exit: Any = None

    def execute(self, context: Context) -> None:
        if self.condition and not self.condition.holds(context):
            return
        parameters: dict[str, Any] = {}
        for source in self.parameters:
            for node, content in yaml.safe_load(Path(text(source, context)).read_text()).items():
                if node.rpartition('/')[2] in ('**', '*', self.executable):
                    parameters |= content['ros__parameters']
        context.nodes.append(
            {
                'executable': self.executable,
                'parameters': parameters,
                'remappings': {old: text(new, context) for old, new in self.remappings},
                'arguments': [text(argument, context) for argument in self.arguments],
                'environment': self.additional_env,
            }
        )


SHARED = 'synth_detect_ros.nodes.launching'
MODULES: dict[str, tuple[Any, ...]] = {
    'launch': (Substitution,),
    'launch.actions': (DeclareLaunchArgument,),
    'launch.conditions': (IfCondition,),
    'launch.substitutions': (LaunchConfiguration, PathJoinSubstitution, PythonExpression),
    'launch_ros': (),
    'launch_ros.actions': (Node,),
    'launch_ros.parameter_descriptions': (ParameterValue,),
    'launch_ros.substitutions': (FindPackageShare,),
}


def run(path: Path, share: Path, arguments: dict[str, str]) -> Context:
    """Run a launch file with arguments as given on a command line."""
    context = Context(dict(arguments), share)
    with pytest.MonkeyPatch.context() as patch:
        for name, classes in MODULES.items():
            module = ModuleType(name)
            vars(module).update({kind.__name__: kind for kind in classes})
            patch.setitem(sys.modules, name, module)
        sys.modules['launch'].LaunchDescription = list
        sys.modules['launch'].LaunchContext = Context
        sys.modules['launch.actions'].Shutdown = object
        # It shall import these modules, and nobody shall have it afterwards.
        patch.delitem(sys.modules, SHARED, raising=False)
        for action in runpy.run_path(str(path))['generate_launch_description']():
            action.execute(context)
        sys.modules.pop(SHARED, None)
    return context
