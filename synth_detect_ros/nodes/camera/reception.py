"""Topics of a camera, subscribed to as their publishers offer them."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, Image

from synth_detect_ros.config import RELIABILITIES, Reliability
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.nodes.camera.arrivals import Arrivals, Offer, all_reliable
from synth_detect_ros.nodes.topics import LATEST, every, policy_of

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

# A publisher that comes back with another reliability is followed as soon [s].
_LOOK_S = 0.5
_KINDS = {True: ReliabilityPolicy.RELIABLE, False: ReliabilityPolicy.BEST_EFFORT}


class Reception:
    """Receives the latest message of a topic, and says when messages are lost.

    The subscription is reliable where all publishers are, otherwise best effort, and is made anew
    when that changes; `reliability`, or the parameter `qos_overrides.<topic>.subscription.
    reliability`, may fix it. Only the latest message is kept, so that none grows old in a queue.

    Args:
        node: owner of the subscription.
        kind: of the messages.
        topic: name, which is resolved.
        callback: gets each message.
        reliability: what to ask for.
        what: a message is called, in the log.

    Attributes:
        topic: full name.

    Raises:
        ConfigError: the parameter asks for another reliability than there are.
    """

    def __init__(
        self,
        node: Node,
        kind: type[Any],
        topic: str,
        callback: Callable[[Any], None],
        reliability: Reliability,
        what: str = 'image',
    ) -> None:
        self._node, self._kind, self._callback, self._what = node, kind, callback, what
        self.topic = node.resolve_topic_name(topic)
        self._kind_name = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'
        self._wanted = self._override(reliability)
        self._reliable = self._wanted == 'reliable'
        self._subscription: Subscription | None = None
        self._timer: Timer | None = None
        self._arrivals = self._start()

    @property
    def is_open(self) -> bool:
        """Whether messages are received."""
        return self._subscription is not None

    def open(self) -> None:
        """Subscribe."""
        self._arrivals = self._start()
        self._follow()
        if self._subscription is None:
            self._subscribe()
        if self._wanted == 'auto':
            self._timer = every(self._node, _LOOK_S, self._follow)

    def close(self) -> None:
        """Unsubscribe."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._timer = self._subscription = None

    def trouble(self) -> str:
        """Return what is wrong, '' when nothing is or nothing is received; call once a second."""
        if not self.is_open:
            return ''
        return self._arrivals.trouble(self._offers(), self._reliable, time.monotonic())

    def values(self) -> dict[str, object]:
        """Return what /diagnostics shows of the topic."""
        if not self.is_open:
            return {}
        return {
            'publishers': len(self._offers()),
            'reliability': _KINDS[self._reliable].name.lower(),
            'lost': self._arrivals.lost,
        }

    def _start(self) -> Arrivals:
        return Arrivals(self._what, self.topic, self._kind_name, time.monotonic())

    def _override(self, reliability: Reliability) -> str:
        """Return what is asked for; the parameter of rclpy's name counts, if it is given."""
        name = f'qos_overrides.{self.topic}.subscription.reliability'
        text = f'one of {", ".join(RELIABILITIES)}'
        descriptor = ParameterDescriptor(
            description=f'reliability for subscription `{self.topic}`', read_only=True,
            additional_constraints=text,
        )  # fmt: skip
        wanted = str(self._node.declare_parameter(name, reliability, descriptor).value)
        if wanted not in RELIABILITIES:
            raise ConfigError(f'parameter {name}: {wanted!r} is not known. Choose {text}.')
        return wanted

    def _offers(self) -> list[Offer]:
        infos = self._node.get_publishers_info_by_topic(self.topic)
        return [
            Offer(info.topic_type, info.qos_profile.reliability == ReliabilityPolicy.RELIABLE)
            for info in infos
        ]

    def _follow(self) -> None:
        """Subscribe as publishers offer; where there is none yet, best effort fits any."""
        reliable = all_reliable(self._offers(), self._kind_name)
        if self._wanted != 'auto' or reliable in (None, self._reliable):
            return
        self._reliable = reliable
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscribe()
        kind = _KINDS[reliable].name.lower().replace('_', ' ')
        self._node.get_logger().info(f'Receiving {self.topic} {kind}, as its publishers offer it')

    def _subscribe(self) -> None:
        qos = copy(LATEST)
        qos.reliability = _KINDS[self._reliable]
        # Its reliability has a parameter of its own, see `_override`.
        policies = QoSOverridingOptions((QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH))
        self._subscription = self._node.create_subscription(
            self._kind, self.topic, self._take, qos,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible,
                message_lost=lambda event: self._arrivals.missed(event.total_count_change),
            ),
            qos_overriding_options=policies,
        )  # fmt: skip

    def _take(self, message: Any) -> None:
        self._arrivals.came(time.monotonic())
        self._callback(message)

    def _on_incompatible(self, event: Any) -> None:
        policy = policy_of(event)
        if policy == 'reliability' and self._wanted == 'auto':
            return  # followed soon
        self._node.get_logger().error(
            f'A publisher of {self.topic} does not fit: its {policy} offers less than this node '
            f'asks for, so nothing of it arrives. Set the parameter '
            f'qos_overrides.{self.topic}.subscription.{policy} to what it offers '
            f'(ros2 topic info -v {self.topic}).'
        )


def receive_images(
    node: Node, callback: Callable[[Any], None], *, compressed: bool, reliability: Reliability
) -> Reception:
    """Return the reception, not open yet, of `image`, or of `image/compressed`."""
    topic = node.resolve_topic_name('image')
    if compressed:
        return Reception(node, CompressedImage, f'{topic}/compressed', callback, reliability)
    return Reception(node, Image, topic, callback, reliability)
