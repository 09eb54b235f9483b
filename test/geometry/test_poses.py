"""The enumeration of poses: complete, even from the first image on, a function of the index."""

from collections import Counter

import numpy as np
import pytest

from synth_detect_ros.config import PoseConfig
from synth_detect_ros.errors import GeometryError
from synth_detect_ros.geometry.poses import (
    PoseSequence,
    Schedule,
    coarse_to_fine,
    distance_range,
    icosphere,
    log_interpolate,
    ray_rotation,
    view_rotation,
)

SMALL = PoseConfig(view_level=1, inplane_turns=5)


@pytest.mark.parametrize('level', range(5))
def test_icosphere_has_even_unit_views(level: int) -> None:
    views = icosphere(level)
    assert views.shape == (10 * 4**level + 2, 3)
    np.testing.assert_allclose(np.linalg.norm(views, axis=1), 1)
    nearest = np.arccos(np.clip(np.sort(views @ views.T, axis=1)[:, -2], -1, 1))
    assert nearest.max() / nearest.min() < 1.4
    np.testing.assert_allclose(views.sum(axis=0), 0, atol=1e-9)


def test_any_prefix_of_the_views_covers_the_sphere() -> None:
    views = icosphere(3)
    order = coarse_to_fine(views, 17)
    assert sorted(order) == list(range(len(views)))
    for count in (6, 12, 50, 200, len(views)):
        gaps = np.arccos(np.clip(views @ views[order[:count]].T, -1, 1)).min(axis=1)
        # A perfect cover by n caps needs a radius of at least arccos(1 - 2/n).
        assert gaps.max() < 1.8 * np.arccos(1 - 2 / count)


def test_each_view_comes_with_each_turn_once() -> None:
    sequence = PoseSequence(SMALL, (0,))
    rotations = [sequence[r].rotation for r in range(len(sequence))]
    assert len(sequence) == 42 * 5
    distinct = {tuple(np.round(rotation, 6).ravel() + 0.0) for rotation in rotations}
    assert len(distinct) == len(sequence)
    np.testing.assert_array_equal(sequence[len(sequence)].rotation, rotations[0])


def test_an_element_depends_on_seed_and_index_alone() -> None:
    forward, backward = PoseSequence(SMALL, (4, 2)), PoseSequence(SMALL, (4, 2))
    wanted = [forward[r] for r in range(20)]
    for r in reversed(range(20)):
        np.testing.assert_array_equal(backward[r].rotation, wanted[r].rotation)
        assert backward[r].position == wanted[r].position
    other = PoseSequence(SMALL, (4, 3))
    assert any(not np.array_equal(other[r].rotation, wanted[r].rotation) for r in range(20))


@pytest.mark.parametrize('count', [64, 250])
def test_distance_and_position_fill_their_ranges_evenly(count: int) -> None:
    sequence = PoseSequence(SMALL, (1,))
    points = np.array([(p.distance, *p.position) for p in map(sequence.__getitem__, range(count))])
    assert ((points >= 0) & (points < 1)).all()
    for column in points.T:
        shares = np.histogram(column, 8, (0, 1))[0] / count
        assert np.abs(shares - 1 / 8).max() < 0.5 / 8
    # Two thirds of the 64 boxes hold a point after 64 of them; chance fills 63 %.
    boxes = {tuple(box) for box in (points[:64] * 4).astype(int)}
    assert len(boxes) > 0.7 * 64


def test_a_view_rotation_looks_at_the_object_with_z_up() -> None:
    for view in icosphere(2):
        rotation = view_rotation(view, 0.0)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        np.testing.assert_allclose(rotation @ view, [0, 0, -1], atol=1e-12)
        up = rotation @ [0, 0, 1]
        assert abs(up[0]) < 1e-9 and up[1] < 1e-9


def test_a_turn_turns_the_image() -> None:
    view = np.array([0.6, 0.0, 0.8])
    quarter = view_rotation(view, np.pi / 2) @ view_rotation(view, 0.0).T
    np.testing.assert_allclose(quarter, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize('ray', [(0, 0, 1), (0.5, -0.3, 1), (-3, 2, 0.5)])
def test_a_ray_rotation_turns_the_axis_onto_the_ray_and_no_further(ray: tuple[float, ...]) -> None:
    rotation = ray_rotation(ray)
    unit = np.array(ray) / np.linalg.norm(ray)
    np.testing.assert_allclose(rotation @ [0, 0, 1], unit, atol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    assert angle == pytest.approx(np.arccos(unit[2]), abs=1e-6)


def test_elevation_and_turn_limits_hold() -> None:
    config = SMALL.replace(view_level=3, elevation_deg=(20.0, 60.0), inplane_deg=(-30.0, 30.0))
    sequence = PoseSequence(config, (0,))
    for r in range(0, len(sequence), 7):
        rotation = sequence[r].rotation
        view = -rotation[2]
        assert 20 - 1e-5 <= np.rad2deg(np.arcsin(view[2])) <= 60 + 1e-5
        up = rotation @ [0, 0, 1]
        assert abs(np.rad2deg(np.arctan2(up[0], -up[1]))) <= 30 + 1e-5


def test_one_turn_takes_the_middle_of_the_range() -> None:
    config = SMALL.replace(inplane_turns=1, inplane_deg=(20.0, 40.0))
    up = PoseSequence(config, (0,))[3].rotation @ [0, 0, 1]
    assert np.rad2deg(np.arctan2(up[0], -up[1])) == pytest.approx(30)


def test_elevations_without_a_view_are_refused() -> None:
    with pytest.raises(GeometryError, match='raise view_level'):
        PoseSequence(SMALL.replace(view_level=0, elevation_deg=(10.0, 11.0)), (0,))


def test_distances_give_the_apparent_size() -> None:
    near, far = distance_range(SMALL.replace(size_fraction=(0.1, 0.5)), 0.2, 500.0, 400)
    assert 500 * 0.2 / near == pytest.approx(0.5 * 400)
    assert 500 * 0.2 / far == pytest.approx(0.1 * 400)
    assert distance_range(SMALL.replace(distance_m=(0.3, 2.0)), 0.2, 500, 400) == (0.3, 2.0)


def test_log_steps_have_equal_ratios() -> None:
    steps = [log_interpolate(0.5, 8.0, share) for share in (0, 0.25, 0.5, 0.75, 1)]
    np.testing.assert_allclose(steps, [0.5, 1, 2, 4, 8])


def test_every_number_of_targets_comes_once_in_each_block() -> None:
    schedule = Schedule(5, (2, 4), seed=9)
    counts = [len(schedule.slots(i)) for i in range(60)]
    for block in range(0, 60, 3):
        assert sorted(counts[block : block + 3]) == [2, 3, 4]
    assert len({tuple(counts[b : b + 3]) for b in range(0, 60, 3)}) > 1


def test_objects_are_used_equally_and_their_poses_in_a_row() -> None:
    schedule = Schedule(7, (1, 3), seed=1)
    slots = [slot for i in range(101) for slot in schedule.slots(i)]
    uses = Counter(label for label, _ in slots)
    assert max(uses.values()) - min(uses.values()) <= 1
    for label in range(7):
        ordinals = [ordinal for which, ordinal in slots if which == label]
        assert ordinals == list(range(len(ordinals)))


def test_a_far_image_needs_none_of_those_before_it() -> None:
    slots = Schedule(3, (1, 2), seed=0).slots(10**9)
    assert all(ordinal == pytest.approx(1.5e9 / 3, rel=1e-6) for _, ordinal in slots)
