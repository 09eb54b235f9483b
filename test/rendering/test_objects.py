"""Objects files: names, units and limits; a wrong one says what is wrong."""

from pathlib import Path

import pytest
import trimesh

from synth_detect_ros.config import PoseConfig
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.rendering.objects import PoseLimits, read_objects


def box(folder: Path) -> None:
    trimesh.creation.box((0.3, 0.2, 0.1)).export(folder / 'box.stl')


def test_objects_are_read_with_their_limits(tmp_path: Path) -> None:
    box(tmp_path)
    (tmp_path / 'objects.yaml').write_text(
        'objects:\n- {name: a, mesh: box.stl, unit: m, elevation_deg: [0, 90]}\n'
        '- {name: b, mesh: box.stl, distance_m: [1, 2], inplane_deg: [-5, 5]}\n'
    )
    a, b = read_objects(tmp_path / 'objects.yaml')
    assert (a.name, b.name) == ('a', 'b')
    pose = PoseConfig()
    assert a.limits.apply(pose).elevation_deg == (0, 90)
    assert a.limits.apply(pose).distance_m is None
    assert b.limits.apply(pose).distance_m == (1, 2)
    assert b.limits.apply(pose).inplane_deg == (-5, 5)
    assert PoseLimits().apply(pose) == pose


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'wanted a list `objects:`'),
        ('objects: []', 'wanted a list `objects:`'),
        ('objects: [box.stl]', r'objects\[0\]: wanted name, mesh and unit'),
        ('objects: [{name: a}]', 'name and mesh must both be given'),
        ('objects: [{name: "a\\nb", mesh: box.stl}]', 'wanted a name in one line'),
        ('objects: [{name: " ", mesh: box.stl}]', 'wanted a name in one line'),
        ('objects: [{name: a, mesh: "a\\0"}]', 'line 1: cannot be read as YAML: zero'),
        ('objects: [{name: a, mesh: box.stl, colour: red}]', "unknown key 'colour'"),
        ('objects: [{name: a, mesh: box.stl, unit: foot}]', 'm, cm, mm, inch, auto'),
        ('objects: [{name: a, mesh: box.stl}, {name: a, mesh: box.stl}]', "'a' is used twice"),
    ],
)
def test_a_wrong_objects_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    box(tmp_path)
    (tmp_path / 'objects.yaml').write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_objects(tmp_path / 'objects.yaml')


@pytest.mark.parametrize('name', ['box.stl', 'part.STEP'])
def test_a_cad_file_is_not_taken_for_an_objects_file(tmp_path: Path, name: str) -> None:
    box(tmp_path)
    with pytest.raises(ConfigError, match=rf'{name}: is a CAD file. Wanted an objects file'):
        read_objects(tmp_path / name)
