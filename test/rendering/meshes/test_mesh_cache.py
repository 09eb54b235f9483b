"""The cache of meshes: what comes from it is what would be made, and nothing depends on it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from safetensors.numpy import save

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes import mesh_cache
from synth_detect_ros.rendering.meshes.cad_file import load_mesh
from synth_detect_ros.rendering.meshes.formats.sources import find_source
from synth_detect_ros.rendering.meshes.levels import with_levels
from synth_detect_ros.rendering.meshes.mesh import Mesh
from synth_detect_ros.rendering.meshes.mesh_cache import load_with_levels


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an empty cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'synth_detect_ros' / 'meshes'


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    """Return a textured ball with a plain one beside it."""
    scene = trimesh.Scene()
    for x, image in ((0.0, Image.new('RGB', (8, 8), (200, 10, 10))), (0.2, None)):
        part = trimesh.creation.icosphere(subdivisions=3, radius=0.05)
        material = trimesh.visual.material.SimpleMaterial(image=image, name=f'paint{x}')
        uv = part.vertices[:, :2] / 0.1 + 0.5
        part.visual = trimesh.visual.TextureVisuals(uv, material)
        scene.add_geometry(part.apply_translation((x, 0, 0)))
    (tmp_path / 'model').mkdir()
    scene.export(tmp_path / 'model' / 'ball.obj')
    return tmp_path / 'model' / 'ball.obj'


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the paths of the models that were made, and not taken from the cache."""
    paths: list[Path] = []

    def load(path: Path, unit: str) -> Mesh:
        paths.append(path)
        return load_mesh(path, unit)

    monkeypatch.setattr(mesh_cache, 'load_mesh', load)
    return paths


def assert_same(a: Mesh, b: Mesh) -> None:
    assert (a.closed, a.sources, a.diameter, a.radius) == (
        b.closed, b.sources, b.diameter, b.radius,
    )  # fmt: skip
    np.testing.assert_array_equal(a.centre, b.centre)
    np.testing.assert_array_equal(a.hull, b.hull)
    assert [level.error for level in a.levels] == [level.error for level in b.levels]
    for one, other in zip((a, *a.levels), (b, *b.levels), strict=True):
        for part, same in zip(one.parts, other.parts, strict=True):
            for name, array in vars(part).items():
                np.testing.assert_array_equal(array, getattr(same, name), strict=array is not None)


def test_the_second_time_nothing_is_made(ball: Path, made: list[Path]) -> None:
    first = load_with_levels(ball, 'm')
    assert len(first.parts) == 2 and first.levels
    second = load_with_levels(ball, 'm')
    assert made == [ball]
    assert_same(second, first)
    assert_same(second, with_levels(load_mesh(ball, 'm')))
    ((number, texture),) = [
        (k, part.texture) for k, part in enumerate(second.parts) if part.texture is not None
    ]
    assert all(level.parts[number].texture is texture for level in second.levels)


def test_what_has_changed_is_made_again(
    ball: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_with_levels(ball, 'm')
    load_with_levels(ball, 'auto')  # another unit, another entry
    assert len(made) == 2
    (texture,) = ball.parent.glob('*.png')
    Image.new('RGB', (8, 8), (10, 10, 200)).save(texture)
    textures = [part.texture for part in load_with_levels(ball, 'm').parts]
    assert len(made) == 3 and any(t is not None and (t == (10, 10, 200)).all() for t in textures)
    texture.unlink()
    with pytest.raises(MeshError, match=texture.name):
        load_with_levels(ball, 'm')
    Image.new('RGB', (8, 8), (10, 10, 200)).save(texture)
    load_with_levels(ball, 'm')  # the first entry fits again
    assert len(made) == 4
    monkeypatch.setattr(mesh_cache, '_code', lambda: 'of the next version')
    load_with_levels(ball, 'm')
    assert len(made) == 5


def test_a_broken_entry_is_made_again(ball: Path, made: list[Path], folder: Path) -> None:
    first = load_with_levels(ball, 'm')
    (entry,) = folder.iterdir()
    whole = entry.read_bytes()
    facts = [{'facts': text} for text in ('[' * 9999, '{}', '{"code": 1', '[]', '"\\ud800"')]
    foreign = [save({'a': np.zeros(1)}, metadata) for metadata in (None, {}, *facts)]
    for content in (b'', whole[:-100], b'\xff' * 200, *foreign):
        entry.write_bytes(content)
        assert_same(load_with_levels(ball, 'm'), first)
    assert len(made) == 4 + len(foreign)
    load_with_levels(ball, 'm')
    assert len(made) == 4 + len(foreign)


def test_a_folder_that_cannot_be_written_does_no_harm(ball: Path, made: list[Path]) -> None:
    (ball.parents[1] / 'cache').write_text('a file')
    for _ in range(2):
        assert load_with_levels(ball, 'm').levels
    assert len(made) == 2


@pytest.mark.parametrize('home', ['relative', ''])
def test_without_a_home_nothing_is_kept(
    home: str, ball: Path, made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's user may have no home; `~` is then no folder to make where one works."""
    monkeypatch.setenv('XDG_CACHE_HOME', home)
    monkeypatch.setattr(os.path, 'expanduser', lambda path: path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for _ in range(2):
        assert load_with_levels(ball, 'm').levels
    assert len(made) == 2 and sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_nothing_behind(
    ball: Path, folder: Path, full_disk: Callable[[], None]
) -> None:
    full_disk()
    assert load_with_levels(ball, 'm').levels
    assert not list(folder.iterdir())


def test_processes_that_make_the_same_model_at_once_do_not_meet(
    ball: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one writes its entry while the first writes the same."""
    fsync = os.fsync

    def meet(file: int) -> None:
        monkeypatch.setattr(os, 'fsync', fsync)
        assert load_with_levels(ball, 'm').levels
        fsync(file)

    monkeypatch.setattr(os, 'fsync', meet)
    first = load_with_levels(ball, 'm')
    assert len(made) == 2
    assert_same(load_with_levels(ball, 'm'), first)
    assert len(made) == 2


def test_small_meshes_and_old_entries_are_not_kept(
    ball: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimesh.creation.box((0.1, 0.1, 0.1)).export(tmp_path / 'box.stl')
    assert not load_with_levels(tmp_path / 'box.stl').levels and not folder.exists()
    monkeypatch.setattr(mesh_cache, 'KEPT', 1)
    load_with_levels(ball, 'm')
    (first,) = folder.iterdir()
    load_with_levels(ball, 'auto')
    (second,) = folder.iterdir()
    assert first != second


def test_entries_that_are_used_are_kept(
    ball: Path, folder: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_cache, 'KEPT', 2)
    load_with_levels(ball, 'm')
    load_with_levels(ball, 'auto')
    for entry in folder.iterdir():  # as long ago as each other
        os.utime(entry, (0, 0))
    load_with_levels(ball, 'm')
    copy = ball.with_name('copy.obj')
    shutil.copy(ball, copy)
    load_with_levels(copy, 'm')
    assert len(made) == 3
    load_with_levels(ball, 'm')
    assert len(made) == 3 and len(list(folder.iterdir())) == 2


def test_a_cache_that_is_only_read_is_used(
    ball: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_with_levels(ball, 'm')

    def refuse(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, 'utime', refuse)
    load_with_levels(ball, 'm')
    assert len(made) == 1


def test_a_link_to_itself_is_no_file(tmp_path: Path) -> None:
    (tmp_path / 'loop.obj').symlink_to('loop.obj')
    for load in (load_mesh, load_with_levels):
        for name in ('loop.obj', '~nobody_at_all/a.obj'):
            with pytest.raises(MeshError, match='no such CAD file'):
                load(tmp_path / name, 'm', folders=(tmp_path / 'loop.obj',))
    assert find_source(tmp_path / 'loop.obj', 'a.png') is None


def test_a_missing_file_is_named_whatever_is_cached(ball: Path) -> None:
    load_with_levels(ball, 'm')
    ball.unlink()
    with pytest.raises(MeshError, match=r'ball\.obj: no such CAD file'):
        load_with_levels(ball, 'm')
