"""The topic that is played: told by encodings, or asked for."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from bag_files import Messages, write_bag

from synth_detect_ros.errors import ConfigError
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.nodes.bags.bag import Bag
from synth_detect_ros.nodes.bags.camera_topic import (
    ImageTopic,
    choose_topic,
    first_calibrated,
    image_topics,
    kind_of,
)
from synth_detect_ros.nodes.encodings import ENCODINGS

MAKE = Messages()
COLOUR = np.full((8, 8, 3), 90, np.uint8)
GREY, DEPTH = COLOUR[..., 0], np.full((8, 8), 900, np.uint16)
PLAIN = {'jpeg': '.jpg', 'png': '.png', '': '.png', 'jpg': '.jpg'}


def file(pixels, end):
    return cv2.imencode(end, pixels)[1].tobytes()


@pytest.mark.parametrize('encoding', [*ENCODINGS, '32FC1', '32SC1', 'rgb9'])
def test_encoding_tells_the_kind(encoding):
    depth, grey = ('16UC1', '32FC1'), ('mono8', 'mono16', '8UC1')
    wanted = 'depth' if encoding in depth else 'grey' if encoding in grey else 'colour'
    wanted = wanted if encoding in ENCODINGS or encoding in depth else 'other'
    assert kind_of('/a', MAKE.image(0, COLOUR, encoding)) == wanted
    # A compressed one says what it was before.
    format = f'{encoding}; jpeg compressed bgr8'
    assert kind_of('/a', MAKE.compressed(0, b'', format)) == wanted


@pytest.mark.parametrize('format', PLAIN)
def test_format_without_encoding_tells_nothing_so_pixels_do(format):
    for pixels, kind in ((COLOUR, 'colour'), (GREY, 'grey'), (DEPTH, 'depth')):
        if pixels.dtype == np.uint8 or PLAIN[format] == '.png':
            data = file(pixels, PLAIN[format])
            assert kind_of('/a', MAKE.compressed(0, data, format)) == kind
    assert kind_of('/a', MAKE.compressed(0, b'half', format)) == 'colour'


def test_pixels_are_not_decoded_to_know_their_kind():
    data = bytearray(file(GREY, '.png'))
    data[16:24] = struct.pack('>II', 60_000, 60_000)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    assert kind_of('/a', MAKE.compressed(0, bytes(data), 'png')) == 'grey'


def test_compressed_depth_is_depth():
    data = bytes(12) + file(DEPTH, '.png')
    assert kind_of('/a', MAKE.compressed(0, data, '16UC1; compressedDepth png')) == 'depth'
    assert kind_of('/a', MAKE.compressed(0, data, '16UC1; compressedDepth')) == 'depth'
    assert kind_of('/a/compressedDepth', MAKE.compressed(0, data, 'png')) == 'depth'
    assert kind_of('/a', MAKE.compressed(0, b'', 'h264')) == 'other'


def topics(**kinds):
    return [ImageTopic(name.replace('__', '/'), kind, kind) for name, kind in kinds.items()]


@pytest.mark.parametrize(
    ('given', 'chosen'),
    [
        (topics(__a__depth='depth', __b__image='colour'), '/b/image'),
        (topics(__a__infra='grey', __b__image='colour', __c__image='other'), '/b/image'),
        (topics(__b__image='grey', __a__depth='depth'), '/b/image'),
        (topics(__a__image__compressed='colour', __a__image='colour'), '/a/image'),
        (topics(__a__image='empty', __a__image__compressed='colour'), '/a/image/compressed'),
        (topics(__a__image_rect='colour', __a__image_raw='colour'), '/a/image_raw'),
        (topics(__a__image='empty', __b__image='colour'), '/b/image'),
        (topics(image='colour'), 'image'),
    ],
)
def test_colour_of_the_only_camera_is_chosen(given, chosen):
    for order in (given, given[::-1]):
        assert choose_topic(order, '', 'x').name == chosen
        for topic in order:
            assert choose_topic(order, topic.name, 'x') == topic


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ([], 'it has none'),
        (topics(__a__depth='depth', __b__x='other', __c__y='empty'), r'/a/depth \(depth\), /b/x'),
        (topics(__l__i='colour', __r__i='colour'), r'colour .* 2 cam.*/l/i \(colour\)'),
        (
            topics(__1__i='grey', __2__i='grey', __d__i='depth'),
            r'grey .* 2 cam.*/d/i \(depth\)',
        ),
    ],
)
def test_choice_is_asked_for_with_the_list(given, message):
    with pytest.raises(ConfigError, match=rf'topic: .*{message}'):
        choose_topic(given, '', 'x')
    with pytest.raises(ConfigError, match="'/z' is no image topic of x; it has"):
        choose_topic(given, '/z', 'x')


def test_topics_of_a_bag_are_listed_with_what_their_first_image_is(tmp_path):
    late = [MAKE.image(0, DEPTH, '16UC1')]
    sent = {
        '/b/depth': late,
        '/a/image': [MAKE.image(i, COLOUR) for i in range(5)],
        '/a/info': [MAKE.info(0, Camera.from_fov(8, 8, 60))],
    }
    path = write_bag(tmp_path / 'bag', sent, 'mcap', {'/c/none': 'sensor_msgs/msg/Image'})
    assert image_topics(Bag(path)) == [
        ImageTopic('/a/image', 'rgb8', 'colour'),
        ImageTopic('/b/depth', '16UC1', 'depth'),
        ImageTopic('/c/none', '', 'empty'),
    ]


@pytest.mark.parametrize('ros1', [False, True])
def test_first_calibrated_info_counts(ros1):
    make, camera = Messages(ros1), Camera.from_fov(8, 8, 60)
    zero = make.info(0, camera, **{'K' if ros1 else 'k': np.zeros(9)})
    good = make.info(1, camera)
    assert first_calibrated([zero, zero, good]) is good
    assert first_calibrated([zero] * 200 + [good]) is None
    assert first_calibrated([]) is None
