"""Configurations as ROS parameters: declared with descriptors, read back, checked."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Collection, Sequence
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
from synth_detect_ros.config.rules import Rule
from synth_detect_ros.errors import ConfigError

OptionsT = TypeVar('OptionsT', bound=Options)
_INT64 = 2**63 - 1
# Parameters that are declared with the topic they are for.
_QOS = 'qos_overrides.'


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
    for name, rule, default in leaves(cls()):
        value = list(default) if isinstance(default, tuple) else default
        descriptor = _descriptor(rule, default, read_only=name not in dynamic)
        try:
            node.declare_parameter(name, value, descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ConfigError(f'parameter {name}: {error}') from error
    _warn_of_unknown(node, [name for name, _, _ in leaves(cls())])


def _warn_of_unknown(node: Node, known: Sequence[str]) -> None:
    """Name values that are given for parameters which the node has not: ROS says nothing."""
    given = getattr(node, '_parameter_overrides', {})  # there is no public way to them
    for name in given:
        if not node.has_parameter(name) and not name.startswith(_QOS):
            near = difflib.get_close_matches(name, known, 3) or known
            node.get_logger().warning(
                f'Parameter {name} is not known, its value does nothing. '
                f'{"Near it" if near is not known else "Known"}: {", ".join(near)}'
            )


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


def _descriptor(rule: Rule, default: Any, *, read_only: bool) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=rule.text,
        read_only=read_only,
        # People write 10 for 10.0; `read_parameters` checks types without losing anything.
        dynamic_typing=isinstance(default, float | tuple),
    )
    if rule.choices:
        descriptor.additional_constraints = f'one of {", ".join(rule.choices)}'
    elif isinstance(default, tuple) and rule.bounds:
        descriptor.additional_constraints = f'each value in {rule.bounds}'
    elif rule.bounds:
        largest = sys.float_info.max if isinstance(default, float) else _INT64
        low = -largest if rule.low is None else rule.low
        high = largest if rule.high is None else rule.high
        if isinstance(default, float):
            bounds = FloatingPointRange(from_value=float(low), to_value=float(high))
            descriptor.floating_point_range = [bounds]
        else:
            bounds = IntegerRange(from_value=int(low), to_value=int(high), step=1)
            descriptor.integer_range = [bounds]
    return descriptor
