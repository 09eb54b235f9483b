"""Composition: each step does what it says, where it says, and nothing when it is off."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from synth_detect_ros.config import BackgroundConfig, ComposeConfig
from synth_detect_ros.rendering.compose import add_noise, compose, merge_boxes, vary_background
from synth_detect_ros.rendering.renderer import Canvas, Layer

OFF = ComposeConfig(noise=False, blur=False)
NO_CHANGE = BackgroundConfig(swap_channels=False, flip=False, rotate=False, crop=(1.0, 1.0))
COLOUR = (200, 120, 40)


def rng() -> np.random.Generator:
    return np.random.default_rng(8)


def canvas_of(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (160, 120)) -> Canvas:
    """Return a canvas with opaque rectangles x, y, width, height."""
    canvas = Canvas(*size)
    for x, y, width, height in boxes:
        colour = np.full((height, width, 4), (*COLOUR, 255), np.uint8)
        canvas.add(Layer(x, y, colour, np.full((height, width), 0.5, np.float32)))
    return canvas


def background(size: tuple[int, int] = (160, 120)) -> NDArray[np.uint8]:
    coarse = rng().integers(0, 255, (12, 16, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, size), np.uint8)


ONE = (50, 40, 30, 20)


@pytest.mark.parametrize(
    'config',
    [OFF, ComposeConfig(), OFF.replace(blending='gaussian'), OFF.replace(blending='poisson')],
)
def test_without_objects_the_background_stays(config: ComposeConfig) -> None:
    np.testing.assert_array_equal(compose(background(), canvas_of(), config, rng()), background())
    outside = canvas_of((-100, 0, 20, 20))
    np.testing.assert_array_equal(compose(background(), outside, config, rng()), background())


def test_with_all_steps_off_objects_are_pasted() -> None:
    canvas = canvas_of(ONE)
    image = compose(background(), canvas, OFF, rng())
    assert (image[canvas.ids == 1] == COLOUR).all()
    np.testing.assert_array_equal(image[canvas.ids == 0], background()[canvas.ids == 0])


def test_half_covered_pixels_are_half_background() -> None:
    canvas = Canvas(160, 120)
    colour = np.full((10, 10, 4), (50, 60, 70, 128), np.uint8)  # multiplied by alpha
    canvas.add(Layer(5, 5, colour, np.ones((10, 10), np.float32)))
    image = compose(np.full((120, 160, 3), 100, np.uint8), canvas, OFF, rng())
    np.testing.assert_allclose(image[8, 8], np.array([50, 60, 70]) + 100 * 127 / 255, atol=1)


@pytest.mark.parametrize('sigma', [2.0, 8.0])
def test_noise_has_its_strength_and_stays_on_the_object(sigma: float) -> None:
    canvas = canvas_of((20, 20, 100, 80))
    config = OFF.replace(noise=True, noise_sigma=(sigma, sigma))
    image = compose(background(), canvas, config, rng())
    noise = image[canvas.ids == 1].astype(float) - COLOUR
    assert noise.std() == pytest.approx(sigma, rel=0.05)
    assert abs(noise.mean()) < 0.3
    np.testing.assert_array_equal(image[canvas.ids == 0], background()[canvas.ids == 0])


def test_noise_on_nothing_is_nothing() -> None:
    empty = np.zeros((7, 5, 4), np.uint8)
    np.testing.assert_array_equal(add_noise(empty, 60.0, rng()), empty)


def test_noise_is_normal_and_independent_from_pixel_to_pixel() -> None:
    front = np.full((300, 300, 4), (128, 128, 128, 255), np.uint8)
    noise = add_noise(front, 10.0, rng())[..., :3].astype(float) - 128
    within = [(np.abs(noise) < k * 10) + (np.abs(noise) == k * 10) / 2 for k in (1, 2, 3)]
    shares = [share.mean() for share in within]
    np.testing.assert_allclose(shares, (0.683, 0.954, 0.997), atol=0.005)
    for beside in (noise[:, 1:], noise[1:], np.roll(noise, 1, axis=2)):
        here = noise[: beside.shape[0], : beside.shape[1]]
        assert abs(np.corrcoef(here.ravel(), beside.ravel())[0, 1]) < 0.02


def test_noise_of_half_covered_pixels_is_half_as_strong() -> None:
    front = np.full((100, 100, 4), (64, 64, 64, 128), np.uint8)
    noise = add_noise(front, 10.0, rng())[..., :3].astype(float) - 64
    assert noise.std() == pytest.approx(5, rel=0.05)


def test_noise_never_exceeds_the_covered_share() -> None:
    front = rng().integers(0, 255, (40, 40, 4)).astype(np.uint8)
    front[..., :3] = np.minimum(front[..., :3], front[..., 3:])
    noisy = add_noise(front, 60.0, rng())
    np.testing.assert_array_equal(noisy[..., 3], front[..., 3])
    assert (noisy[..., :3] <= noisy[..., 3:]).all()
    assert (noisy[front[..., 3] == 0] == 0).all()


def test_blur_covers_object_boundary_and_adjacent_background_only() -> None:
    canvas = canvas_of(ONE)
    plain = compose(background(), canvas, OFF, rng())
    config = OFF.replace(blur=True, blur_sigma_px=(1.5, 1.5))
    blurred = compose(background(), canvas, config, rng())
    near = cv2.dilate(canvas.ids, np.ones((11, 11), np.uint8)) > 0  # 3 sigma = 5 pixels
    np.testing.assert_array_equal(blurred[~near], plain[~near])
    wanted = cv2.GaussianBlur(plain, (11, 11), 1.5)
    np.testing.assert_array_equal(blurred[near], wanted[near])
    beside = near & (canvas.ids == 0)
    assert (blurred[beside] != plain[beside]).mean() > 0.5


def test_regions_that_touch_are_blurred_as_one() -> None:
    canvas = canvas_of((40, 40, 20, 20), (62, 45, 20, 20), (140, 100, 40, 40))
    config = OFF.replace(blur=True, blur_sigma_px=(2.0, 2.0))
    blurred = compose(background(), canvas, config, rng())
    plain = compose(background(), canvas, OFF, rng())
    near = cv2.dilate((canvas.ids > 0).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    np.testing.assert_array_equal(blurred[near], cv2.GaussianBlur(plain, (13, 13), 2.0)[near])


def test_gaussian_blending_fades_towards_the_outline() -> None:
    canvas, grey = canvas_of(ONE), np.zeros((120, 160, 3), np.uint8)
    image = compose(grey, canvas, OFF.replace(blending='gaussian', feather_px=2.0), rng())
    profile = image[50, 50:65, 0].astype(int)
    assert (np.diff(profile) >= 0).all()
    assert profile[0] < 0.5 * COLOUR[0] and profile[-1] == COLOUR[0]
    assert (image[canvas.ids == 0] == 0).all()


def test_poisson_blending_takes_the_level_of_the_surroundings() -> None:
    around = np.full((120, 160, 3), 90, np.uint8)
    image = compose(around, canvas_of(ONE), OFF.replace(blending='poisson'), rng())
    np.testing.assert_allclose(image, 90, atol=3)  # a flat object has no gradient to keep


@pytest.mark.parametrize('box', [(0, 0, 30, 20), (-10, 100, 40, 40), (0, 0, 160, 120)])
def test_poisson_blending_bears_objects_at_the_border(box: tuple[int, int, int, int]) -> None:
    canvas = canvas_of(box)
    image = compose(background(), canvas, OFF.replace(blending='poisson'), rng())
    assert image.shape == (120, 160, 3)
    np.testing.assert_array_equal(image[canvas.ids == 0], background()[canvas.ids == 0])


def test_merged_boxes_are_disjoint_and_cover_all() -> None:
    corners = rng().integers(0, 90, (12, 2))
    boxes = [np.array([x, y, x + w, y + w]) for (x, y), w in zip(corners, range(12), strict=True)]
    merged = merge_boxes(boxes)
    count = np.zeros((120, 120), int)
    for x0, y0, x1, y1 in merged:
        count[y0:y1, x0:x1] += 1
    assert count.max() == 1
    for x0, y0, x1, y1 in boxes:
        assert count[y0:y1, x0:x1].all()


def test_a_background_without_variation_is_the_frame() -> None:
    np.testing.assert_array_equal(
        vary_background(background(), (160, 120), NO_CHANGE, rng()), background()
    )


def test_each_variation_of_the_background_has_its_switch() -> None:
    frame = background()
    swapped = vary_background(frame, (160, 120), NO_CHANGE.replace(swap_channels=True), rng())
    assert not np.array_equal(swapped, frame)
    np.testing.assert_array_equal(np.sort(swapped, axis=2), np.sort(frame, axis=2))
    views = [frame, frame[::-1], frame[:, ::-1], frame[::-1, ::-1]]
    found = set()
    for seed in range(20):
        flipped = vary_background(
            frame, (160, 120), NO_CHANGE.replace(flip=True), np.random.default_rng(seed)
        )
        found |= {i for i, view in enumerate(views) if np.array_equal(view, flipped)}
    assert found == {0, 1, 2, 3}


def test_turned_backgrounds_keep_the_size_and_their_proportions() -> None:
    frame = np.zeros((120, 160, 3), np.uint8)
    cv2.circle(frame, (80, 60), 20, (255, 255, 255), -1)
    for seed in range(8):
        generator = np.random.default_rng(seed)
        image = vary_background(frame, (160, 120), NO_CHANGE.replace(rotate=True), generator)
        assert image.shape == frame.shape
        rows, columns = (np.flatnonzero(image[..., 0].max(axis=axis) > 127) for axis in (1, 0))
        if rows[0] > 0 and rows[-1] < 119 and columns[0] > 0 and columns[-1] < 159:
            assert len(rows) == pytest.approx(len(columns), abs=1)


@pytest.mark.parametrize('size', [(160, 120), (96, 200), (640, 480), (20, 20)])
def test_any_frame_fills_any_image(size: tuple[int, int]) -> None:
    config = BackgroundConfig(crop=(0.05, 1.0))
    for seed in range(5):
        image = vary_background(background((64, 48)), size, config, np.random.default_rng(seed))
        assert image.shape == (size[1], size[0], 3) and image.flags.c_contiguous


def test_the_crop_has_the_wanted_share() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 100, axis=0)
    frame = np.repeat(ramp, 3, axis=2)
    image = vary_background(frame, (200, 100), NO_CHANGE.replace(crop=(0.5, 0.5)), rng())
    assert np.ptp(image[..., 0].astype(int)) == pytest.approx(100, abs=3)
