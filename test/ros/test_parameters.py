"""Configurations as ROS parameters, in one process."""

import pytest
import rclpy
from rclpy.parameter import Parameter

from synth_detect_ros.config import CaptureConfig, DetectConfig, ReplayConfig
from synth_detect_ros.config.options import Options, leaves
from synth_detect_ros.config.rules import option
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.nodes.parameters import (
    apply_changes,
    declare_parameters,
    read_parameters,
)

pytestmark = pytest.mark.ros


class Group(Options):
    """A nested group."""

    span: tuple[float, float] = option((0.0, 1.0), 'a range', unit='m', low=0, high=9)


class Nested(Options):
    """A configuration with a group."""

    group: Group = option(Group, 'a group')
    count: int = option(3, 'a count', low=1)


@pytest.fixture
def make_node():
    """Return a function that makes a node with parameters set from outside."""
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def make(**overrides):
        given = [Parameter(name.replace('__', '.'), value=v) for name, v in overrides.items()]
        nodes.append(
            rclpy.create_node(f'node{len(nodes)}', context=context, parameter_overrides=given)
        )
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize('cls', [CaptureConfig, ReplayConfig, DetectConfig, Nested])
def test_defaults_come_back(make_node, cls):
    node = make_node()
    declare_parameters(node, cls)
    assert read_parameters(node, cls) == cls()


def test_every_parameter_explains_itself(make_node):
    node = make_node()
    declare_parameters(node, CaptureConfig)
    for name, rule, _ in leaves(CaptureConfig()):
        descriptor = node.describe_parameter(name)
        assert rule.help in descriptor.description
        assert rule.unit in descriptor.description
        assert descriptor.read_only
        if rule.choices:
            assert ', '.join(rule.choices) in descriptor.additional_constraints
    assert node.describe_parameter('count').integer_range[0].from_value == 1
    clipped = node.describe_parameter('max_clipped').floating_point_range[0]
    assert (clipped.from_value, clipped.to_value) == (0, 1)


def test_groups_become_dotted_names(make_node):
    node = make_node(group__span=[2.0, 3.0])
    declare_parameters(node, Nested)
    assert read_parameters(node, Nested).group.span == (2.0, 3.0)
    assert 'each value in 0 .. 9' in node.describe_parameter('group.span').additional_constraints


def test_whole_numbers_are_numbers_too(make_node):
    node = make_node(rate_hz=5)
    declare_parameters(node, ReplayConfig)
    assert read_parameters(node, ReplayConfig).rate_hz == 5.0


def test_relative_paths_become_absolute(make_node, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = make_node(out='set')
    declare_parameters(node, CaptureConfig)
    assert read_parameters(node, CaptureConfig).out == str(tmp_path / 'set')


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        ({'rate_hz': 0.0}, 'rate_hz'),
        ({'rate_hz': 0}, r'rate_hz: 0 is out of bounds'),
        ({'rate_hz': 'fast'}, "rate_hz: wanted a number, got 'fast'"),
        ({'loop': 3}, 'parameter loop'),
        ({'encoding': 'jpeg9'}, "'jpeg9' is not known. Choose one of bgr8"),
    ],
)
def test_bad_values_are_refused_by_name(make_node, overrides, message):
    node = make_node(**overrides)
    with pytest.raises(ConfigError, match=message):
        declare_parameters(node, ReplayConfig)
        read_parameters(node, ReplayConfig)


def test_only_dynamic_parameters_change_and_only_to_legal_values(make_node):
    node, applied = make_node(), []
    declare_parameters(node, DetectConfig, dynamic=['score_threshold'])
    apply_changes(node, DetectConfig, applied.append)
    assert node.set_parameters([Parameter('score_threshold', value=0.25)])[0].successful
    assert applied == [DetectConfig(score_threshold=0.25)]
    for value in (1.5, 'high'):
        result = node.set_parameters([Parameter('score_threshold', value=value)])[0]
        assert not result.successful and 'score_threshold' in result.reason
    assert node.get_parameter('score_threshold').value == 0.25
    fixed = node.set_parameters([Parameter('device', value='cpu')])[0]
    assert not fixed.successful and 'read-only' in fixed.reason
    assert len(applied) == 1


def test_a_value_for_a_parameter_that_is_not_there_is_named(make_node, capfd):
    node = make_node(cuont=4, use_sim_time=True, qos_overrides__image__depth=3)
    declare_parameters(node, Nested)
    said = capfd.readouterr().err
    assert 'Parameter cuont is not known, its value does nothing. Near it: count' in said
    assert 'use_sim_time' not in said and 'qos_overrides' not in said
    declare_parameters(make_node(wholly_other=1), Nested)
    assert 'Known: group.span, count' in capfd.readouterr().err


def test_parameters_of_others_are_left_alone(make_node):
    node, applied = make_node(), []
    node.declare_parameter('other', 1)
    declare_parameters(node, DetectConfig, dynamic=['score_threshold'])
    apply_changes(node, DetectConfig, applied.append)
    assert node.set_parameters([Parameter('other', value=2)])[0].successful
    assert not applied
