"""The camera model: every effect has its strength, and none when its range is zero."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from synth_detect_ros.config import SensorConfig
from synth_detect_ros.rendering.sensor import apply_sensor, chromatic_aberration

NOTHING = SensorConfig(
    chromatic_aberration_px=(0.0, 0.0),
    blur_sigma_px=(0.0, 0.0),
    exposure_ev=(0.0, 0.0),
    shot_noise=(0.0, 0.0),
    read_noise=(0.0, 0.0),
    white_balance=0.0,
    jpeg_quality=(100, 100),
)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def flat(grey: int) -> NDArray[np.uint8]:
    return np.full((80, 120, 3), grey, np.uint8)


def photo() -> NDArray[np.uint8]:
    coarse = rng().integers(0, 255, (8, 12, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (120, 80), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_a_sensor_without_effects_changes_next_to_nothing() -> None:
    difference = apply_sensor(photo(), NOTHING, rng()).astype(int) - photo()
    assert np.abs(difference).mean() < 1.5  # chroma subsampling of the JPEG


def test_one_stop_of_exposure_doubles_the_light() -> None:
    image = apply_sensor(flat(100), NOTHING.replace(exposure_ev=(1.0, 1.0)), rng())
    np.testing.assert_allclose(image, 100 * 2 ** (1 / 2.2), atol=2)


def test_shot_noise_grows_with_light_and_read_noise_does_not() -> None:
    def linear_sigma(grey: int, config: SensorConfig) -> float:
        light = (apply_sensor(flat(grey), config, rng())[..., 1] / 255.0) ** 2.2
        return float(light.std())

    shot = NOTHING.replace(shot_noise=(0.002, 0.002))
    read = NOTHING.replace(read_noise=(0.02, 0.02))
    ratio = np.sqrt((200 / 100) ** 2.2)
    assert linear_sigma(200, shot) / linear_sigma(100, shot) == pytest.approx(ratio, rel=0.2)
    assert linear_sigma(200, read) / linear_sigma(100, read) == pytest.approx(1, rel=0.2)
    # JPEG averages the noise of neighbouring colours: some of it is lost.
    wanted = np.sqrt(0.002 * (200 / 255) ** 2.2)
    assert 0.6 * wanted < linear_sigma(200, shot) < 1.05 * wanted


def test_white_balance_scales_channels_alike_everywhere() -> None:
    image = apply_sensor(flat(120), NOTHING.replace(white_balance=0.2), rng())
    assert np.ptp(image.reshape(-1, 3).mean(axis=0)) > 5
    assert image.reshape(-1, 3).std(axis=0).max() < 1


def test_chromatic_aberration_moves_red_out_and_blue_in() -> None:
    image = np.zeros((81, 121, 3), np.uint8)
    cv2.circle(image, (60, 40), 30, (255, 255, 255), -1)
    assert np.array_equal(chromatic_aberration(image, 0.0), image)
    shifted = chromatic_aberration(image, 6.0)
    red, green, blue = (np.count_nonzero(shifted[40, :, k] > 127) for k in range(3))
    assert red > green > blue
    corner = np.hypot(60.5, 40.5)
    assert red - green == pytest.approx(2 * 30 * 6.0 / corner, abs=1.5)


def test_defocus_removes_detail_and_compression_adds_blocks() -> None:
    noise = rng().integers(0, 255, (80, 120, 3)).astype(np.uint8)
    blurred = apply_sensor(noise, NOTHING.replace(blur_sigma_px=(2.0, 2.0)), rng())
    assert blurred.std() < 0.4 * noise.std()
    packed = apply_sensor(photo(), NOTHING.replace(jpeg_quality=(5, 5)), rng())
    assert np.abs(packed.astype(int) - photo()).mean() > 3


def test_the_same_numbers_give_the_same_image() -> None:
    first, again = (apply_sensor(photo(), SensorConfig(enabled=True), rng()) for _ in range(2))
    np.testing.assert_array_equal(first, again)
