"""Which topic of a bag is the camera: told by the encodings of its images, not by its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from synth_detect_ros.errors import ConfigError
from synth_detect_ros.images.headers import is_deep, is_grey
from synth_detect_ros.nodes.bags.bag import Bag
from synth_detect_ros.nodes.encodings import ENCODINGS

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
Kind = Literal['colour', 'grey', 'depth', 'other', 'empty']

_DEPTH = ('16uc1', '32fc1', 'compresseddepth')
_GREY = ('mono8', 'mono16', '8uc1')
# A format that does not say what the pixels were: look at them.
_FILES = ('', 'jpeg', 'jpg', 'png')


@dataclass(frozen=True)
class ImageTopic:
    """A topic with images in a bag.

    Attributes:
        name: of the topic.
        encoding: of its first image; the format of a compressed one; '' when there is none.
        kind: what the encoding means.
    """

    name: str
    encoding: str
    kind: Kind

    @property
    def image(self) -> str:
        """Name of the topic without what image_transport appends to it."""
        return self.name.removesuffix('/compressed')

    @property
    def camera(self) -> str:
        """Namespace, which the topics of one camera share."""
        return self.image.rpartition('/')[0]

    def __str__(self) -> str:
        """Return name and encoding."""
        return f'{self.name} ({self.encoding or "no image"})'


def image_topics(bag: Bag) -> list[ImageTopic]:
    """Return the topics with images in a bag, by name.

    Raises:
        BagLimitError: a message is larger than the limit.
    """
    names = sorted(topic for topic, kind in bag.topics.items() if kind in IMAGE_TYPES)
    missing, found = set(names), {}
    for topic, message in bag.messages(missing):
        if topic in missing:
            encoding = getattr(message, 'encoding', None) or getattr(message, 'format', '')
            found[topic] = ImageTopic(topic, encoding, kind_of(topic, message))
            missing.discard(topic)
            if not missing:
                break
    return [found.get(name, ImageTopic(name, '', 'empty')) for name in names]


def kind_of(topic: str, message: Any) -> Kind:
    """Return what the pixels of a message are.

    Args:
        topic: the message came on.
        message: sensor_msgs/Image or CompressedImage.

    Source: sensor_msgs/image_encodings.hpp; the formats of compressed_image_transport
        (`rgb8; jpeg compressed bgr8`) and compressed_depth_image_transport.
    """
    if hasattr(message, 'encoding'):
        return _kind(message.encoding)
    if topic.endswith('/compressedDepth') or 'compresseddepth' in message.format.lower():
        return 'depth'
    encoding = message.format.partition(';')[0].strip()
    return _pixels(message.data) if encoding.lower() in _FILES else _kind(encoding)


def _kind(encoding: str) -> Kind:
    if encoding.lower() in _DEPTH:
        return 'depth'
    if encoding.lower() in _GREY:
        return 'grey'
    return 'colour' if encoding in ENCODINGS else 'other'


def _pixels(data: Any) -> Kind:
    """Return what a JPEG or PNG holds, by its header; without one it may be the usual kind."""
    content = bytes(data)
    if not is_grey(content):
        return 'colour'
    return 'depth' if is_deep(content) else 'grey'


def choose_topic(topics: Sequence[ImageTopic], wanted: str, source: str) -> ImageTopic:
    """Return the topic to play.

    Args:
        topics: that the bag has.
        wanted: name of one; '': the colour images of the only camera that has some, else the
            grey ones; raw before compressed images, and in the order of their names.
        source: of the bag, for messages.

    Raises:
        ConfigError: there is no such topic, or none or several come into question; it lists all
            with their encodings.
    """
    listed = ', '.join(map(str, topics)) or 'none'
    if wanted:
        for topic in topics:
            if topic.name == wanted:
                return topic
        raise ConfigError(f'topic: {wanted!r} is no image topic of {source}; it has {listed}')
    for kind in ('colour', 'grey'):
        found = [topic for topic in topics if topic.kind == kind]
        cameras = sorted({topic.camera for topic in found})
        if len(cameras) > 1:
            raise ConfigError(
                f'topic: {source} has {kind} images of {len(cameras)} cameras. Give one of its '
                f'topics: {listed}'
            )
        if found:
            return min(found, key=lambda topic: (topic.name != topic.image, topic.name))
    raise ConfigError(
        f'topic: wanted an image topic with colour or grey images in {source}; it has {listed}'
    )


def first_calibrated(infos: Iterable[Any], tries: int = 100) -> Any:
    """Return the first CameraInfo whose focal length is not zero; a driver may send zeros first.

    Returns:
        The message; None if none of the first `tries` is calibrated.
    """
    for info in islice(infos, tries):
        K = getattr(info, 'k', getattr(info, 'K', None))
        if K is not None and K[0]:
            return info
    return None
