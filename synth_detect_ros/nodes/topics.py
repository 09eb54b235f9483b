"""Subscriptions and publishers whose QoS can be overridden, and which report one that differs."""

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
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, Image

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

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


def subscription(
    node: Node, kind: type[Any], topic: str, callback: Callable[[Any], None], qos: QoSProfile
) -> Subscription:
    """Subscribe with `qos_overrides` parameters; log publishers whose QoS is incompatible.

    rclpy writes the overrides into the profile, which is why it gets a copy.
    """
    name = node.resolve_topic_name(topic)
    events = SubscriptionEventCallbacks(
        incompatible_qos=lambda event: node.get_logger().error(
            f'A publisher of {name} does not fit: its {_policy(event)} offers less than this node '
            f'asks for, so nothing of it arrives. Set the parameter '
            f'qos_overrides.{name}.subscription.{_policy(event)} to what it offers '
            f'(ros2 topic info -v {name}).'
        )
    )
    return node.create_subscription(
        kind, name, callback, copy(qos), event_callbacks=events,
        qos_overriding_options=QoSOverridingOptions.with_default_policies(),
    )  # fmt: skip


def subscribe_to_images(
    node: Node, callback: Callable[[Any], None], *, compressed: bool
) -> Subscription:
    """Subscribe to the latest of `image`, or of `image/compressed`."""
    topic = node.resolve_topic_name('image')
    if compressed:
        return subscription(node, CompressedImage, f'{topic}/compressed', callback, LATEST)
    return subscription(node, Image, topic, callback, LATEST)


def publisher(
    node: Node, kind: type[Any], topic: str, qos: QoSProfile, *, managed: bool = False
) -> Publisher:
    """Make a publisher with `qos_overrides` parameters; a managed one is silent while inactive."""
    name = node.resolve_topic_name(topic)
    events = PublisherEventCallbacks(
        incompatible_qos=lambda event: node.get_logger().warning(
            f'A subscriber of {name} does not fit: its {_policy(event)} asks for more than this '
            f'node offers, so nothing arrives there. Change the subscriber, or set the parameter '
            f'qos_overrides.{name}.publisher.{_policy(event)} here.'
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


def _policy(event: Any) -> str:
    return QoSPolicyKind(event.last_policy_kind).name.lower()
