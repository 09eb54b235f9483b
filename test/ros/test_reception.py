"""Subscriptions that follow what publishers offer, between real nodes."""

import re

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from graph import FakeCamera
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from synth_detect_ros.errors import ConfigError
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.nodes import conversions
from synth_detect_ros.nodes.camera.reception import Reception, receive_images

pytestmark = pytest.mark.ros
RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


class Driver:
    """A camera driver in a context of its own, that can end and come back."""

    def __init__(self, namespace):
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node('driver', context=self._context, namespace=namespace)
        self._publishers = []

    def offer(self, *reliabilities, kind=Image):
        """Publish anew, with these reliabilities."""
        while self._publishers:
            self._node.destroy_publisher(self._publishers.pop())
        for reliability in reliabilities:
            qos = QoSProfile(depth=5, reliability=reliability)
            self._publishers.append(self._node.create_publisher(kind, 'image', qos))

    def send(self):
        for publisher in self._publishers:
            publisher.publish(publisher.msg_type())

    def end(self):
        self._node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def driver(graph):
    driver = Driver(graph.namespace)
    yield driver
    driver.end()


@pytest.fixture
def reception(graph):
    """Return a function that makes an open reception and the list of what it gets."""
    opened = []

    def make(reliability='auto', compressed=False):
        got = []
        made = receive_images(
            graph.node, got.append, compressed=compressed, reliability=reliability
        )
        opened.append(made)
        made.open()
        return made, got

    yield make
    for made in opened:
        made.close()


def offered(made, count, reliability):
    return lambda: (
        made.values()['publishers'] == count and made.values()['reliability'] == reliability
    )


@pytest.mark.parametrize(
    ('offers', 'taken'),
    [
        ((RELIABLE,), 'reliable'),
        ((BEST_EFFORT,), 'best_effort'),
        ((RELIABLE, RELIABLE), 'reliable'),
        ((RELIABLE, BEST_EFFORT), 'best_effort'),
    ],
)
def test_auto_takes_what_all_publishers_offer(graph, driver, reception, offers, taken):
    driver.offer(*offers)
    made, got = reception()
    graph.until(offered(made, len(offers), taken), taken)

    def all_arrived():
        driver.send()
        return len(got) >= 3 * len(offers)

    graph.until(all_arrived, 'messages of all publishers')


def test_auto_follows_a_publisher_that_comes_back_with_another_reliability(
    graph, driver, reception
):
    made, got = reception()
    assert made.values() == {'publishers': 0, 'reliability': 'best_effort', 'lost': 0}
    for offer, taken in (
        (RELIABLE, 'reliable'), (BEST_EFFORT, 'best_effort'), (RELIABLE, 'reliable'),
    ):  # fmt: skip
        driver.offer(offer)
        graph.until(offered(made, 1, taken), taken)
        got.clear()

        def arrived():
            driver.send()
            return got

        graph.until(arrived, f'a message of a {taken} publisher')


def test_a_reliability_that_is_set_stays(graph, driver, reception):
    driver.offer(RELIABLE)
    made, _ = reception('best_effort')
    graph.spin(1.0)
    assert made.values() == {'publishers': 1, 'reliability': 'best_effort', 'lost': 0}


def test_reception_that_is_closed_gets_and_says_nothing(graph, driver, reception):
    driver.offer(RELIABLE)
    made, got = reception()
    made.close()
    driver.send()
    graph.spin(0.7)
    assert not got and made.values() == {} and made.trouble() == ''
    made.open()
    graph.until(offered(made, 1, 'reliable'), 'reliable again')


def test_publishers_of_another_type_are_named(graph, driver, reception):
    driver.offer(RELIABLE, kind=CompressedImage)
    made, _ = reception()
    graph.until(made.trouble, 'a trouble')
    assert re.search(
        r'1 publisher, .* are of type sensor_msgs/msg/CompressedImage', made.trouble()
    )


def test_an_unknown_reliability_is_refused_with_the_choices():
    context = rclpy.Context()
    name = 'qos_overrides./image.subscription.reliability'
    rclpy.init(context=context, args=['--ros-args', '-p', f'{name}:=strict'])
    node = rclpy.create_node('test', context=context)
    with pytest.raises(ConfigError, match=f"{name}: 'strict' .* auto, reliable, best_effort"):
        Reception(node, Image, 'image', print, 'auto')
    node.destroy_node()
    context.try_shutdown()


def test_silence_is_said_with_its_cause_and_that_it_is_over(graph, scene, tmp_path):
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics')
    node = graph.start('synthesize_node', out=tmp_path / 'set', count=1000, min_interval_s=0)
    topic = f'{graph.namespace}/image'
    graph.until(lambda: f'no image on {topic}: nobody publishes it' in node.output, 'a warning')
    qos = QoSProfile(depth=5, reliability=RELIABLE)
    images = graph.node.create_publisher(Image, 'image', qos)
    infos = graph.node.create_publisher(CameraInfo, 'camera_info', qos)
    graph.until(lambda: f'no image on {topic}: 1 publisher, but nothing' in node.output, 'why')
    assert 'the publisher is silent' in node.output
    assert f'Receiving {topic} reliable, as its publishers offer it' in node.output
    status = diagnostics[-1].status[0]
    assert status.level == b'\x01' and '1 publisher, but nothing arrives' in status.message
    values = {value.key: value.value for value in status.values}
    assert (values['publishers'], values['reliability'], values['lost']) == ('1', 'reliable', '0')

    camera = Camera.from_fov(160, 120, 60.0)

    def send():
        infos.publish(conversions.message_from_camera(camera, Header()))
        images.publish(conversions.image_from_rgb(scene(0), Header()))
        return f'{topic} is well again' in node.output

    graph.until(send, 'the end of the warning')
    assert node.output.count(f'no image on {topic}: 1 publisher') == 1


def test_losses_are_said_with_their_cause(graph, tmp_path):
    """A best effort publisher of images larger than any buffer of the transport."""
    node = graph.start('synthesize_node', out=tmp_path / 'set', count=1000, min_interval_s=0)
    qos = QoSProfile(depth=1, reliability=BEST_EFFORT)
    images = graph.node.create_publisher(Image, 'image', qos)
    graph.until(images.get_subscription_count, 'the node')
    large = conversions.image_from_rgb(np.zeros((2000, 3000, 3), np.uint8), Header())
    sent = iter(range(10_000))

    def send():
        # Small ones in between arrive, and their numbers tell what is missing.
        images.publish(large if next(sent) % 2 else Image())
        return 'were lost in' in node.output

    graph.until(send, 'a warning')
    assert 'with best effort a message that misses a packet is lost' in node.output


def test_camera_info_follows_too(graph, scene, tmp_path):
    FakeCamera(graph, [scene(i) for i in range(9)], Camera.from_fov(160, 120, 60.0))
    node = graph.start('synthesize_node', out=tmp_path / 'set', count=1000, min_interval_s=0)
    lines = [f'Receiving {graph.namespace}/{name} reliable' for name in ('image', 'camera_info')]
    graph.until(lambda: all(line in node.output for line in lines), 'the lines of both topics')
