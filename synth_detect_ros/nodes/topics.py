"""Publishers whose QoS can be overridden, and which report one that differs; timers."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.timer import Timer

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

# Of a camera only the latest image counts, and a lost one is never sent again.
LATEST = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)
RELIABLE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def publisher(
    node: Node, kind: type[Any], topic: str, qos: QoSProfile, *, managed: bool = False
) -> Publisher:
    """Make a publisher with `qos_overrides` parameters; a managed one is silent while inactive."""
    name = node.resolve_topic_name(topic)
    events = PublisherEventCallbacks(
        incompatible_qos=lambda event: node.get_logger().warning(
            f'A subscriber of {name} does not fit: its {policy_of(event)} asks for more than this '
            f'node offers, so nothing arrives there. Change the subscriber, or set the parameter '
            f'qos_overrides.{name}.publisher.{policy_of(event)} here.'
        )
    )
    create = node.create_lifecycle_publisher if managed else node.create_publisher
    return create(
        kind, name, copy(qos), event_callbacks=events,
        qos_overriding_options=QoSOverridingOptions.with_default_policies(),
    )  # fmt: skip


def every(node: Node, seconds: float, callback: Callable[[], None]) -> Timer:
    """Call periodically in real time, also while simulated time stands still."""
    return node.create_timer(seconds, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))


def policy_of(event: Any) -> str:
    """Return the QoS policy that an event says not to fit."""
    return QoSPolicyKind(event.last_policy_kind).name.lower()
