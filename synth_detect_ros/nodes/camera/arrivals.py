"""Whether what the publishers of a topic send arrives, and if not, why; imports no ROS."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

# Slower cameras do not exist; a driver that starts may take as long [s].
PATIENCE_S = 5.0
# Losses are looked at over so long; as many are no trouble, be it 1 of few [s, share, messages].
_WINDOW_S, _NO_TROUBLE, _FEW = 10.0, 0.05, 1
_ROOM = (
    'Set the driver to reliable, or give large messages more room: config/fastdds_images.xml, '
    'sysctl net.core.rmem_max'
)


@dataclass(frozen=True)
class Offer:
    """What one publisher of a topic offers.

    Attributes:
        kind: of its messages, 'sensor_msgs/msg/Image' say.
        reliable: it sends again what was lost.
    """

    kind: str
    reliable: bool


def all_reliable(offers: Collection[Offer], kind: str) -> bool | None:
    """Return whether all publishers of this kind are reliable; None where there are none.

    A reliable subscriber gets nothing from a publisher that is not.
    """
    fitting = [offer.reliable for offer in offers if offer.kind == kind]
    return all(fitting) if fitting else None


class Arrivals:
    """Counts what arrives of a topic and what is lost on the way.

    Args:
        what: a message is called, 'image' say.
        topic: its full name.
        kind: of the messages that are read.
        now_s: when the subscription began, on a clock that never jumps [s].

    Attributes:
        lost: messages that the middleware told to be lost.
    """

    def __init__(self, what: str, topic: str, kind: str, now_s: float) -> None:
        self._what, self._topic, self._kind = what, topic, kind
        self._last, self._came, self.lost = now_s, 0, 0
        self._marks = deque([(now_s, 0, 0)])

    def came(self, time_s: float) -> None:
        """Count a message."""
        self._last = time_s
        self._came += 1

    def missed(self, count: int) -> None:
        """Count messages that were lost."""
        self.lost += count

    def trouble(self, offers: Collection[Offer], reliable: bool, now_s: float) -> str:
        """Return what is wrong with the topic, and the likely cause; '' when nothing is.

        Args:
            offers: of the topic's publishers.
            reliable: the subscription is.
            now_s: time; calls once a second make a window of ten seconds.
        """
        self._marks.append((now_s, self._came, self.lost))
        while now_s - self._marks[0][0] > _WINDOW_S:
            self._marks.popleft()
        silence = now_s - self._last
        if silence > PATIENCE_S:
            return self._silence(offers, reliable, silence)
        start, came_before, lost_before = self._marks[0]
        lost, came = self.lost - lost_before, self._came - came_before
        if lost > max(_FEW, _NO_TROUBLE * (lost + came)):
            return (
                f'{lost} of {lost + came} messages on {self._topic} were lost in '
                f'{now_s - start:.0f} s: {_loss(offers, reliable)}'
            )
        return ''

    def _silence(self, offers: Collection[Offer], reliable: bool, seconds: float) -> str:
        if not offers:
            return (
                f'no {self._what} on {self._topic}: nobody publishes it. Is the camera running, '
                'and is this its topic (ros2 topic list)?'
            )
        s = 's' if len(offers) > 1 else ''
        return (
            f'no {self._what} on {self._topic}: {len(offers)} publisher{s}, but nothing arrives '
            f'for {seconds:.0f} s: {self._cause(offers, reliable)}'
        )

    def _cause(self, offers: Collection[Offer], reliable: bool) -> str:
        fits = all_reliable(offers, self._kind)
        if fits is None:
            kinds = ', '.join(sorted({offer.kind for offer in offers}))
            return (
                f'they are of type {kinds}, and {self._kind} is read. Remap it to a topic of that '
                'type; for compressed images set compressed to true, and remap image to the name '
                'without /compressed'
            )
        if reliable and not fits:
            return (
                'best effort is offered, and this node is set to reliable. Set reliability to auto'
            )
        if reliable:
            return (
                f'the publisher is silent, or a network between lets nothing through. ros2 topic '
                f'hz {self._topic} on the computer of the camera tells which; then look at '
                'firewall and MTU'
            )
        return (
            f'the publisher is silent (ros2 topic hz {self._topic} on the computer of the '
            f'camera), or of each message a part is lost. {_loss(offers, reliable)}'
        )


def _loss(offers: Collection[Offer], reliable: bool) -> str:
    """Return why messages get lost, and what to do."""
    if reliable:
        return (
            'they come faster than this computer, or the network to it, takes them, and the queue '
            'of the publisher is short. Lower rate or size of the images, or end other work'
        )
    if all(offer.reliable for offer in offers):
        return (
            'this node is set to best effort, and so a message that misses a packet is lost. Set '
            'reliability to auto'
        )
    return f'with best effort a message that misses a packet is lost. {_ROOM}'
