"""Single odd values do not count; what stays does."""

import numpy as np
import pytest

from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.nodes.camera.steady import SteadyCamera, SteadyStream, Streak, difference

CAMERA, OTHER = Camera.from_fov(160, 120, 60.0), Camera.from_fov(320, 240, 60.0)


def test_nothing_said_lasts_for_no_time():
    streak = Streak()
    assert not streak.lasts(0, 0.0, 100.0)
    streak.hear(None, 0.0)
    assert not streak.lasts(1, 0.0, 100.0)


def test_streak_begins_anew_with_another_value():
    streak = Streak()
    for time_s in range(4):
        streak.hear('a', time_s)
    assert streak.lasts(4, 3.0, 3.0) and not streak.lasts(5, 3.0, 3.0)
    assert not streak.lasts(4, 3.5, 3.0)
    streak.hear('b', 4.0)
    assert streak.lasts(1, 0.0, 4.0) and not streak.lasts(2, 0.0, 4.0)
    streak.hear(None, 5.0)
    streak.hear('b', 6.0)
    assert not streak.lasts(2, 0.0, 6.0)


def test_intrinsics_are_taken_when_they_come_again():
    camera = SteadyCamera()
    assert camera.now(0.0) is None
    for time_s, said, now in (
        (0.0, OTHER, None),
        (0.1, CAMERA, None),
        (0.2, CAMERA, None),
        (0.3, CAMERA, CAMERA),
        (0.4, None, None),
        (0.5, CAMERA, None),
    ):
        camera.hear(said, time_s)
        assert camera.now(time_s) == now


def test_intrinsics_that_are_said_once_are_taken_when_nothing_else_comes():
    camera = SteadyCamera()
    camera.hear(CAMERA, 0.0)
    assert camera.now(1.9) is None
    assert camera.now(2.0) == CAMERA


def test_beside_kept_frames_only_their_intrinsics_count_and_at_once():
    camera = SteadyCamera(CAMERA)
    assert camera.now(0.0) is None
    for said, now in ((CAMERA, CAMERA), (OTHER, None), (CAMERA, CAMERA), (None, None)):
        camera.hear(said, 1.0)
        assert camera.now(1.0) == now
        assert camera.other(1.0) is None


@pytest.mark.parametrize(('rate_hz', 'seconds'), [(60, 5.0), (10, 5.0), (1, 9.0)])
def test_other_camera_is_one_that_stays(rate_hz, seconds):
    camera = SteadyCamera(CAMERA)
    camera.hear(CAMERA, -1.0)
    times = np.arange(0, 20, 1 / rate_hz)
    found = []
    for time_s in times:
        camera.hear(OTHER, time_s)
        found.append(camera.other(time_s))
    first = next(i for i, other in enumerate(found) if other)
    assert times[first] == pytest.approx(seconds)
    assert found[first] == OTHER


def test_values_that_jump_are_no_other_camera():
    camera = SteadyCamera(CAMERA)
    for i in range(1000):
        camera.hear(Camera.from_fov(160 + 2 * (i % 2), 120, 60.0), i * 0.1)
        assert camera.other(i * 0.1) is None


def test_difference_names_what_differs():
    K = CAMERA.K.copy()
    K[0, 0], K[1, 2] = 100.0, 50.0
    bent = Camera(160, 120, K, np.array([0.1, 0, 0, 0]))
    assert difference(bent, CAMERA) == (
        'fx 100 in place of 138.564, cy 50 in place of 59.5, another distortion'
    )
    assert difference(OTHER, CAMERA).startswith('320x240 pixels in place of 160x120, fx ')


def test_images_that_stay_different_are_told_once():
    stream, told = SteadyStream(), []
    for tick in range(400):
        like = 'odd' if tick in (0, 60, 61) else 'left' if tick < 100 else 'right'
        if before := stream.hear(like, tick / 10):
            told.append((tick, before))
    assert told == [(150, 'left')]


def test_images_of_two_cameras_in_turns_are_no_change():
    stream = SteadyStream()
    assert not any(stream.hear('left' if tick % 2 else 'right', tick) for tick in range(100))
