"""Configuration dataclasses as ROS parameters: declared with descriptors, read back, checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import Field
from pathlib import Path
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from synth_detect_ros.config.options import Options, build, leaves, resolve_paths
from synth_detect_ros.errors import ConfigError

OptionsT = TypeVar('OptionsT', bound=Options)
_INT64 = 2**63 - 1


def declare_parameters(node: Node, cls: type[Options], dynamic: Collection[str] = ()) -> None:
    """Declare a parameter for each option; nested groups become dotted names.

    Args:
        node: owner of the parameters.
        cls: a configuration without optional values, which ROS has no type for.
        dynamic: options that may change while the node runs; all others are read only.

    Raises:
        ConfigError: a value from the command line, a launch or a parameter file has the wrong
            type or is out of bounds.
    """
    for name, field, default in leaves(cls()):
        value = list(default) if isinstance(default, tuple) else default
        descriptor = _descriptor(field, default, read_only=name not in dynamic)
        try:
            node.declare_parameter(name, value, descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ConfigError(f'parameter {name}: {error}') from error


def read_parameters(node: Node, cls: type[OptionsT], **changes: Any) -> OptionsT:
    """Make the configuration from the node's parameters; paths become absolute.

    Args:
        node: see `declare_parameters`.
        cls: the configuration.
        changes: values, by dotted name, that count instead of the node's own.

    Raises:
        ConfigError: a value is out of bounds, or values contradict one another.
    """
    mapping: dict[str, Any] = {}
    for name, _, default in leaves(cls()):
        value = changes[name] if name in changes else node.get_parameter(name).value
        *groups, key = name.split('.')
        group = mapping
        for part in groups:
            group = group.setdefault(part, {})
        group[key] = list(value) if isinstance(default, tuple) else value
    mapping = resolve_paths(cls, mapping, Path.cwd())
    return build(cls, mapping, f'parameters of {node.get_fully_qualified_name()}')


def apply_changes(node: Node, cls: type[OptionsT], apply: Callable[[OptionsT], None]) -> None:
    """Hand each valid change of a parameter to `apply`, and refuse the others with the reason."""
    names = {name for name, _, _ in leaves(cls())}

    def on_set(parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name in names}
        try:
            if changes:
                apply(read_parameters(node, cls, **changes))
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)


def _descriptor(field: Field[Any], default: Any, *, read_only: bool) -> ParameterDescriptor:
    rules = field.metadata
    unit = f' [{rules["unit"]}]' if rules['unit'] else ''
    descriptor = ParameterDescriptor(
        description=rules['help'] + unit,
        read_only=read_only,
        # People write 10 for 10.0; `read_parameters` checks types without losing anything.
        dynamic_typing=isinstance(default, float | tuple),
    )
    low, high = rules['low'], rules['high']
    if rules['choices']:
        descriptor.additional_constraints = f'one of {", ".join(rules["choices"])}'
    elif isinstance(default, tuple) and (low is not None or high is not None):
        descriptor.additional_constraints = f'each value in {low} .. {high}'
    elif isinstance(default, float) and (low is not None or high is not None):
        largest = sys.float_info.max
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float(-largest if low is None else low),
                to_value=float(largest if high is None else high),
            )
        ]
    elif type(default) is int and (low is not None or high is not None):
        descriptor.integer_range = [
            IntegerRange(
                from_value=int(-_INT64 if low is None else low),
                to_value=int(_INT64 if high is None else high),
                step=1,
            )
        ]
    return descriptor
