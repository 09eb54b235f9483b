"""What a capture takes, skips, and ends at."""

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from synth_detect_ros.config import CaptureConfig
from synth_detect_ros.errors import BackgroundError, MessageError, UncalibratedCameraError
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.nodes import conversions
from synth_detect_ros.nodes.camera.gate import CameraGate

pytestmark = pytest.mark.ros
CAMERA, OTHER = Camera.from_fov(32, 24, 60.0), Camera.from_fov(64, 48, 60.0)


class Source:
    """A camera at 10 Hz in front of a gate."""

    def __init__(self, kept=None, **options):
        self.said, self.time_s, self.hfov = [], 0.0, options.get('camera_hfov_deg', 0)
        config = CaptureConfig(out='set', **options)
        self.gate = CameraGate(config, kept, ('/image', '/camera_info'), self.said.append)

    def send(self, camera=CAMERA, info=None, spoil=lambda image: None):
        """Send an image and its CameraInfo; return whether it passes."""
        self.time_s += 0.1
        header = Header(frame_id='optical')
        pixels = np.zeros((camera.height, camera.width, 3), np.uint8)
        image = conversions.image_from_rgb(pixels, header)
        spoil(image)
        if not self.hfov:
            message = conversions.message_from_camera(camera, header) if info is None else info
            self.gate.hear(message, self.time_s)
        return self.gate.read(image, self.time_s) is not None

    def until_it_passes(self):
        for _ in range(5):
            if self.send():
                self.gate.keep(self.gate.camera(self.time_s))
                return
        raise AssertionError(self.gate.reason)


def contradict(image):
    image.width = 4_000_000_000


def other_encoding(image):
    image.encoding = 'jpeg9'


def cut(image):
    image.data = image.data[:100]


@pytest.mark.parametrize('options', [{}, {'camera_hfov_deg': 60.0}])
def test_good_images_pass_once_the_camera_is_known(options):
    source = Source(**options)
    assert [source.send() for _ in range(4)] == [False, False, True, True]
    assert not source.said and source.gate.reason == ''


@pytest.mark.parametrize('spoil', [contradict, other_encoding, cut])
@pytest.mark.parametrize('options', [{}, {'camera_hfov_deg': 60.0}])
def test_bad_images_of_any_number_do_not_end_a_capture(options, spoil):
    source = Source(**options)
    source.until_it_passes()
    assert not any(source.send(spoil=spoil) for _ in range(1000))
    assert source.send()
    assert source.gate.images.total == 1000 and len(source.said) == 1
    assert source.said[0].startswith('Image skipped: ')


@pytest.mark.parametrize('k', [[0.0] * 9, [np.nan] * 9, [-1.0, 0, 1, 0, 1, 1, 0, 0, 1]])
def test_bad_infos_of_any_number_do_not_end_a_capture_and_nothing_is_kept_under_them(k):
    source = Source()
    source.until_it_passes()
    assert not any(source.send(info=CameraInfo(width=32, height=24, k=k)) for _ in range(1000))
    assert source.send()
    assert source.gate.infos.total == 1000 and len(source.said) == 1


@pytest.mark.parametrize('options', [{}, {'camera_hfov_deg': 60.0}])
def test_single_images_of_another_size_are_skipped(options):
    source = Source(**options)
    source.send(OTHER)
    source.until_it_passes()
    for _ in range(20):
        assert not any(source.send(OTHER) for _ in range(9))
        assert source.send()


@pytest.mark.parametrize('options', [{}, {'camera_hfov_deg': 60.0}])
def test_another_camera_that_stays_ends_the_capture_with_the_reason(options):
    source = Source(**options)
    source.until_it_passes()
    start = source.time_s
    with pytest.raises(
        BackgroundError, match=r'set.*64x48 pixels in place of 32x24.*that were kept are there'
    ):
        for _ in range(100):
            assert not source.send(OTHER)
    assert source.time_s - start == pytest.approx(5.1, abs=0.11)


def test_images_alone_of_another_size_end_the_capture_too():
    source = Source()
    source.until_it_passes()
    info = conversions.message_from_camera(CAMERA, Header())
    with pytest.raises(BackgroundError, match='images of 64x48 pixels in place of 32x24'):
        for _ in range(100):
            assert not source.send(OTHER, info)


def test_other_intrinsics_of_the_same_size_are_another_camera():
    source = Source()
    source.until_it_passes()
    with pytest.raises(BackgroundError, match=r'fx 20\.\d+ in place of 27\.7'):
        for _ in range(100):
            assert not source.send(Camera.from_fov(32, 24, 77.0))


def test_frames_of_a_former_run_count_as_kept():
    source = Source(kept=OTHER)
    assert source.send(OTHER)
    with pytest.raises(BackgroundError, match='32x24 pixels in place of 64x48'):
        for _ in range(100):
            assert not source.send(CAMERA)


def test_what_can_never_work_ends_a_capture_that_has_nothing_yet():
    for error, message, options in (
        (UncalibratedCameraError, 'not calibrated', {'info': CameraInfo(width=32, height=24)}),
        (MessageError, "'jpeg9' is not known", {'spoil': other_encoding}),
        (
            MessageError,
            '32x24 pixels, but /camera_info describes 64x48',
            {'info': conversions.message_from_camera(OTHER, Header())},
        ),
    ):
        source = Source()
        with pytest.raises(error, match=message):
            for _ in range(1000):
                assert not source.send(**options)
        assert 10 < source.time_s < 11


@pytest.mark.parametrize('spoil', [contradict, cut])
def test_what_may_end_by_itself_is_waited_for(spoil):
    source = Source()
    assert not any(source.send(spoil=spoil) for _ in range(1000))
    assert source.send()


def test_images_without_any_info_wait_for_one():
    source = Source(camera_hfov_deg=0.0)
    image = conversions.image_from_rgb(np.zeros((24, 32, 3), np.uint8), Header())
    assert source.gate.read(image, 0.0) is None
    assert 'no CameraInfo on /camera_info' in source.gate.reason
