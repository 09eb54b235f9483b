"""Messages to library types and back."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from pycocotools import mask as coco_mask
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from synth_detect_ros.errors import GeometryError, UncalibratedCameraError
from synth_detect_ros.files import encode_image
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.nodes import conversions
from synth_detect_ros.nodes.encodings import IncompleteImageError
from synth_detect_ros.structures import Detections

pytestmark = pytest.mark.ros
HEADER = Header(frame_id='optical')
HEADER.stamp.sec, HEADER.stamp.nanosec = 12, 34
CLASSES = ('box', 'cube')


def picture(height=6, width=8):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def detections(with_masks=True):
    """Return two overlapping detections, best first."""
    masks = np.zeros((2, 6, 8), bool)
    masks[0, 1:4, 2:5] = masks[1, 2:6, 3:8] = True
    boxes = np.array([[2, 1, 5, 4], [3, 2, 8, 6]], float)
    return Detections(np.array([1, 0]), np.array([0.9, 0.6]), boxes, masks if with_masks else None)


NOTHING = Detections(
    np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)), np.zeros((0, 6, 8), bool)
)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
def test_image_comes_back(encoding):
    message = conversions.image_from_rgb(picture(), HEADER, encoding)
    assert (message.encoding, message.step, message.header) == (encoding, 24, HEADER)
    assert np.array_equal(conversions.rgb_from_message(message), picture())


def test_grey_image_has_one_channel():
    message = conversions.image_from_rgb(picture(), HEADER, 'mono8')
    assert message.step == 8
    got = conversions.rgb_from_message(message)
    assert np.array_equal(got[..., 0], got[..., 1])


def test_part_of_an_image_converts_as_well():
    part = picture()[1:4, 2:5]
    assert np.array_equal(
        conversions.rgb_from_message(conversions.image_from_rgb(part, HEADER)), part
    )


def test_compressed_image_comes_back():
    flat = np.full((48, 64, 3), (200, 30, 90), np.uint8)
    message = conversions.compressed_from_rgb(flat, HEADER)
    assert isinstance(message, CompressedImage) and 'jpeg' in message.format
    assert np.abs(conversions.rgb_from_message(message).astype(int) - flat).max() <= 3
    lossless = CompressedImage(format='png', data=encode_image(picture(), 'png'))
    assert np.array_equal(conversions.rgb_from_message(lossless), picture())
    assert conversions.encoding_of(lossless) == 'png'


@pytest.mark.parametrize('share', [0.0, 0.5])
def test_half_a_compressed_image_is_told_apart(share):
    message = conversions.compressed_from_rgb(picture(60, 80), HEADER)
    message.data = message.data[: int(share * len(message.data))]
    with pytest.raises(IncompleteImageError, match='no complete JPEG'):
        conversions.rgb_from_message(message)


@pytest.mark.parametrize(
    'camera',
    [
        Camera.from_fov(64, 48, 60),
        Camera(64, 48, [[50, 0, 31], [0, 51, 24], [0, 0, 1]], [0.1, -0.2, 0.001, 0.002, 0.05]),
        Camera(64, 48, [[50, 0, 31], [0, 51, 24], [0, 0, 1]], [0.1, 0, 0, 0], 'equidistant'),
    ],
    ids=['ideal', 'plumb_bob', 'equidistant'],
)
def test_camera_comes_back(camera):
    message = conversions.message_from_camera(camera, HEADER)
    assert conversions.camera_from_message(message, rectified=False) == camera
    rectified = conversions.camera_from_message(message, rectified=True)
    assert not rectified.distorted and np.array_equal(rectified.K, camera.K)


def test_roi_and_binning_reach_the_camera():
    message = conversions.message_from_camera(Camera.from_fov(64, 48, 60), HEADER)
    message.binning_x = message.binning_y = 2
    message.roi.x_offset, message.roi.width, message.roi.height = 8, 40, 48
    camera = conversions.camera_from_message(message, rectified=False)
    assert camera == Camera.from_fov(64, 48, 60).cropped(8, 0, 40, 48).binned(2, 2)


def test_camera_info_of_any_values_is_a_camera_or_no_geometry():
    rng = np.random.default_rng(0)
    values = [0.0, 1.0, -1.0, 30.0, 1e3, 1e300, -1e300, np.nan, np.inf]
    sizes = [0, 1, 8, 64, 2**31, 2**32 - 1]
    for _ in range(3000):
        message = conversions.message_from_camera(Camera.from_fov(64, 48, 60), HEADER)
        for name, count in (('k', 9), ('p', 12), ('d', int(rng.choice([0, 1, 5, 8, 100])))):
            if rng.integers(2):
                given = list(getattr(message, name))[:count]
                number = rng.integers(count + 1)
                given += [0.0] * (count - len(given))
                given[:number] = rng.choice(values, number).tolist()
                setattr(message, name, given)
        for name in ('width', 'height', 'binning_x', 'binning_y'):
            if not rng.integers(3):
                setattr(message, name, int(rng.choice(sizes)))
        for name in ('x_offset', 'y_offset', 'width', 'height'):
            if not rng.integers(3):
                setattr(message.roi, name, int(rng.choice(sizes)))
        message.distortion_model = str(rng.choice(['plumb_bob', 'equidistant', '', 'other']))
        try:
            camera = conversions.camera_from_message(message, rectified=bool(rng.integers(2)))
        except GeometryError:
            continue
        assert camera.width > 0 and camera.height > 0 and np.isfinite(camera.K).all()


def test_empty_camera_info_is_uncalibrated():
    with pytest.raises(UncalibratedCameraError, match='camera_hfov_deg'):
        conversions.camera_from_message(CameraInfo(), rectified=False)


def test_label_image_holds_one_plus_the_index_and_the_best_on_top():
    found = detections()
    message = conversions.labels_from_detections(found, 6, 8, HEADER)
    labels = np.frombuffer(message.data, np.uint16).reshape(6, 8)
    assert (message.encoding, message.step, message.header) == ('16UC1', 16, HEADER)
    assert np.array_equal(labels == 1, found.masks[0])
    assert np.array_equal(labels == 2, found.masks[1] & ~found.masks[0])


@pytest.mark.parametrize('found', [NOTHING, detections(with_masks=False)])
def test_label_image_without_masks_is_empty(found):
    message = conversions.labels_from_detections(found, 6, 8, HEADER)
    assert len(message.data) == 96 and not any(message.data)


def test_json_is_coco_results():
    results = json.loads(conversions.json_from_detections(detections(), CLASSES, HEADER))
    assert [r['category_name'] for r in results] == ['cube', 'box']
    assert results[0]['bbox'] == [2, 1, 3, 3]
    assert {r['image_id'] for r in results} == {12 * 10**9 + 34}
    for result, mask in zip(results, detections().masks, strict=True):
        assert np.array_equal(coco_mask.decode(result['segmentation']), mask)
    plain = json.loads(conversions.json_from_detections(detections(False), CLASSES, HEADER))
    assert 'segmentation' not in plain[0]
    assert conversions.json_from_detections(NOTHING, CLASSES, HEADER) == '[]'


def test_diagnostics_say_name_level_and_values():
    stamp = HEADER.stamp
    message = conversions.diagnostics('/node', 'warn', 'text', {'a': 1.239, 'b': 2}, stamp)
    status = message.status[0]
    assert (status.name, status.level, status.message) == ('/node', DiagnosticStatus.WARN, 'text')
    assert [(v.key, v.value) for v in status.values] == [('a', '1.24'), ('b', '2')]
    assert message.header.stamp == stamp


class Message(SimpleNamespace):
    """Stands for a message of vision_msgs where it is not installed: any nested attribute."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        value = [] if name == 'detections' else Message()
        setattr(self, name, value)
        return value


@pytest.fixture
def vision_msgs(monkeypatch):
    """Return vision_msgs, or a stand-in with the fields that messages of these types have."""
    if conversions.vision_msgs is None:
        kinds = ('Detection2DArray', 'Detection2D', 'ObjectHypothesisWithPose', 'VisionInfo')
        monkeypatch.setattr(
            conversions, 'vision_msgs', SimpleNamespace(**dict.fromkeys(kinds, Message))
        )
    return conversions.vision_msgs


def test_detection_message_names_classes_and_centres_pixels(vision_msgs):
    message = conversions.message_from_detections(detections(), CLASSES, HEADER)
    assert message.header == HEADER
    first, second = message.detections
    assert first.header == HEADER
    assert first.results[0].hypothesis.class_id == 'cube'
    assert first.results[0].hypothesis.score == 0.9
    # Columns 2, 3, 4 and rows 1, 2, 3: the centre is the middle pixel.
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (3, 2)
    assert (first.bbox.size_x, first.bbox.size_y) == (3, 3)
    assert (first.id, second.id) == ('1', '2')
    assert conversions.message_from_detections(NOTHING, CLASSES, HEADER).detections == []


def test_vision_info_says_where_the_classes_are(vision_msgs):
    info = conversions.vision_info('faster_rcnn', 'bundle/model.yaml', HEADER)
    assert (info.method, info.database_location) == ('faster_rcnn', 'bundle/model.yaml')
    assert info.header == HEADER


def test_image_data_never_pass_through_lists():
    message = conversions.image_from_rgb(picture(), HEADER)
    assert message.data.typecode == 'B'
    assert isinstance(message, Image)
