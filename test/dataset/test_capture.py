import cv2
import numpy as np
import pytest

from synth_detect_ros.config import CaptureConfig
from synth_detect_ros.dataset.backgrounds import read_background_set
from synth_detect_ros.dataset.capture import FrameSelector, stall


def scene(seed: int, width: int = 320, height: int = 240) -> np.ndarray:
    """Return a sharp, well exposed frame; another seed is another place."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 220, (height // 20, width // 20, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


def test_first_good_frame_is_kept():
    judgement = FrameSelector(CaptureConfig()).judge(scene(0), 0.0)
    assert judgement.keep and judgement.reason == '' and judgement.sharpness > 20


@pytest.mark.parametrize(
    ('image', 'reason'),
    [
        (cv2.GaussianBlur(scene(0), (0, 0), 12), 'blurred'),
        (np.full((240, 320, 3), 128, np.uint8), 'blurred'),
        (np.clip(scene(0) * 4.0, 0, 255).astype(np.uint8), 'black or white'),
        ((scene(0) / 40).astype(np.uint8), 'black or white'),
    ],
    ids=['out of focus', 'empty', 'overexposed', 'underexposed'],
)
def test_bad_frame_is_refused_with_the_reason(image, reason):
    judgement = FrameSelector(CaptureConfig()).judge(image, 0.0)
    assert not judgement.keep and reason in judgement.reason


def test_frame_must_differ_from_every_kept_one():
    selector = FrameSelector(CaptureConfig(min_interval_s=0))
    for t, seed in enumerate([0, 1, 2]):
        assert selector.judge(scene(seed), t).keep
        selector.add(scene(seed), t)
    noise = np.random.default_rng(9).normal(0, 4, scene(0).shape)
    again = np.clip(scene(0) + noise, 0, 255).astype(np.uint8)
    assert 'like a frame' in selector.judge(again, 3.0).reason
    assert selector.judge(scene(3), 3.0).keep


def test_a_capture_that_keeps_nothing_more_says_which_option_decides():
    selector = FrameSelector(CaptureConfig(min_interval_s=0), kept=[scene(0)])
    reason = selector.judge(scene(0), 0.0).reason
    assert stall(29.0, reason) == '' and stall(31.0, '') == ''
    text = stall(31.0, reason)
    assert 'for 31 s' in text and 'difference 0.0, min_difference 6' in text


def test_kept_frames_of_a_former_run_count():
    selector = FrameSelector(CaptureConfig(), kept=[scene(0)])
    assert not selector.judge(scene(0), 0.0).keep
    assert selector.judge(scene(1), 0.0).keep


def test_interval_counts_from_the_last_kept_frame():
    selector = FrameSelector(CaptureConfig(min_interval_s=1.0))
    selector.add(scene(0), 10.0)
    assert 'less than 1 s' in selector.judge(scene(1), 10.9).reason
    assert selector.judge(scene(1), 11.0).keep


def test_judging_changes_nothing():
    selector = FrameSelector(CaptureConfig())
    assert selector.judge(scene(0), 0.0) == selector.judge(scene(0), 0.0)


def test_sharpness_means_the_same_for_large_frames():
    small = scene(0, 640, 480)
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    selector = FrameSelector(CaptureConfig())
    ratio = selector.judge(large, 0.0).sharpness / selector.judge(small, 0.0).sharpness
    assert ratio == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ('height', 'width'), [(1, 1), (2, 1), (1, 100_000), (100_000, 1), (3, 40_000)]
)
def test_frame_of_any_shape_is_judged(height, width):
    selector = FrameSelector(CaptureConfig())
    image = np.full((height, width, 3), 128, np.uint8)
    assert not selector.judge(image, 0.0).keep
    selector.add(image, 0.0)


def test_real_frames_pass_the_default_thresholds(data_dir):
    backgrounds = read_background_set(data_dir / 'backgrounds' / 'xtion_tabletop')
    selector = FrameSelector(CaptureConfig())
    for i in range(0, len(backgrounds), 5):
        if selector.judge(backgrounds.read(i), i).keep:
            selector.add(backgrounds.read(i), i)
    kept = sum(not selector.judge(backgrounds.read(i), 1e6).keep for i in range(0, 100, 5))
    assert kept == 20
