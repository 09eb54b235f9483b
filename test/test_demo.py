"""The demo's own parts: what is fetched is checked, frames that were seen are not scored."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'demo'))

import material  # noqa: E402
import run  # noqa: E402
from commands import MissingError  # noqa: E402

GIVEN = material.Given(None, None)


def frames(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    coarse = [rng.integers(0, 256, (6, 8, 3), np.uint8) for _ in range(count)]
    return [cv2.resize(c, (64, 48), interpolation=cv2.INTER_NEAREST) for c in coarse]


def write_video(path: Path, images: list[np.ndarray]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for image in images:
        writer.write(image)
    writer.release()
    return path


def grids(images: list[np.ndarray]) -> dict[int, list[int]]:
    def grid(image: np.ndarray) -> list[int]:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return cv2.resize(grey, (8, 6), interpolation=cv2.INTER_AREA).reshape(-1).tolist()

    return {n: grid(images[n]) for n in (0, len(images) - 1)}


@pytest.fixture
def settings(tmp_path: Path) -> dict:
    """Return the settings of a demo of twelve frames, eleven labelled, one face in frame 4."""
    labels = tmp_path / 'labels'
    labels.mkdir()
    images = frames(12)
    check = {'frames': 12, 'size': [64, 48], 'largest_difference': 4.0, 'grids': grids(images)}
    (labels / 'video.yaml').write_text(yaml.safe_dump(check))
    photo = {'photo': 'frames/000004.png', 'corners_px': []}
    (labels / 'box.yaml').write_text(yaml.safe_dump({'faces': {'top': [photo]}}))
    (labels / 'camera.yaml').touch()
    rows = [{'id': i, 'file_name': f'{i:06d}.png', 'width': 64, 'height': 48} for i in range(11)]
    boxes = [
        {'id': i + 1, 'image_id': i, 'category_id': 1, 'bbox': [1, 2, 3, 4]} for i in range(11)
    ]
    content = {'images': rows, 'annotations': boxes, 'categories': [{'id': 1, 'name': 'box'}]}
    (labels / 'annotations.json').write_text(json.dumps(content))
    photos = tmp_path / 'photos'
    photos.mkdir()
    for number, image in enumerate(frames(5, seed=1)):
        cv2.imwrite(str(photos / f'{number}.jpg'), image)
    return {
        'package': 'no-such-package', 'video': 'video.avi', 'labels': str(labels),
        'near_a_texture': 1, 'least_photographs': 3, 'photographs': ['1.jpg', '2.jpg', '3.jpg'],
    }  # fmt: skip


def given(tmp_path: Path, **changes: Path) -> material.Given:
    video = write_video(tmp_path / 'given.avi', frames(12))
    return material.Given(**{'video': video, 'photographs': tmp_path / 'photos', **changes})


def test_everything_is_laid_out(settings: dict, tmp_path: Path) -> None:
    out = tmp_path / 'material'
    counts = material.prepare(settings, given(tmp_path), out)
    assert counts == {
        'photographs': 5, 'frames': 12, 'test': 8, 'second_half': 4, 'first_half': 4,
    }  # fmt: skip
    assert len(list((out / 'frames').iterdir())) == 11
    assert len(list((out / 'photographs').iterdir())) == 5
    assert {p.name for p in out.iterdir()} >= {'video.avi', 'box.yaml', 'camera.yaml'}


def test_frames_near_a_texture_are_not_scored(settings: dict, tmp_path: Path) -> None:
    out = tmp_path / 'material'
    material.prepare(settings, given(tmp_path), out)
    parts = {
        name: json.loads((out / file).read_text())
        for name, file in (
            ('test', 'test.json'),
            ('second', 'second_half.json'),
            ('first', 'first_half/annotations.json'),
        )
    }
    ids = {name: [image['id'] for image in part['images']] for name, part in parts.items()}
    assert ids['test'] == [0, 1, 2, 6, 7, 8, 9, 10]  # frame 4 and its neighbours are left out
    assert ids['first'] + ids['second'] == ids['test']
    for name, part in parts.items():
        assert [row['image_id'] for row in part['annotations']] == ids[name]
    files = {path.name for path in (out / 'first_half/images').iterdir()}
    assert files == {f'{i:06d}.png' for i in ids['first']}


def test_compressed_video_is_unpacked(settings: dict, tmp_path: Path) -> None:
    plain = write_video(tmp_path / 'plain.avi', frames(12))
    packed = tmp_path / 'video.avi.gz'
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    material.prepare(settings, given(tmp_path, video=packed), tmp_path / 'material')
    assert (tmp_path / 'material/video.avi').read_bytes() == plain.read_bytes()


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        (frames(11), 'wanted 12 frames of 64x48, got 11 frames of 64x48: another video, or a cut'),
        (frames(12, seed=7), 'frame 0 differs by .* it is another video'),
        ([], 'got no frame'),
    ],
)
def test_another_video_is_refused(settings, tmp_path, images, message) -> None:
    video = write_video(tmp_path / 'other.avi', images)
    with pytest.raises(MissingError, match=message):
        material.prepare(settings, given(tmp_path, video=video), tmp_path / 'material')


def test_video_that_is_not_there_is_named(settings: dict, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r'VIDEO: .*gone.avi cannot be read'):
        material.prepare(
            settings, given(tmp_path, video=tmp_path / 'gone.avi'), tmp_path / 'material'
        )


def test_too_few_photographs_are_refused(settings: dict, tmp_path: Path) -> None:
    (tmp_path / 'few').mkdir()
    with pytest.raises(MissingError, match='PHOTOS: wanted 3 photographs or more, got 0'):
        material.prepare(
            settings, given(tmp_path, photographs=tmp_path / 'few'), tmp_path / 'material'
        )


def test_without_apt_both_files_are_named(settings: dict, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(MissingError) as error:
        material.prepare(settings, GIVEN, tmp_path / 'material')
    text = str(error.value)
    assert 'there is no apt-get on this machine' in text
    assert 'make demo VIDEO=/path/to/box.mp4 PHOTOS=/path/to/photographs' in text
    assert 'folder of 3 photographs or more' in text
    assert not list((tmp_path / 'material').iterdir())


def stand_in(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f'#!/bin/sh\n{script}\n')
    file.chmod(0o755)


@pytest.fixture
def package(tmp_path: Path, monkeypatch) -> Path:
    """Put an apt-get and a dpkg on the path that make a package of what is in this folder."""
    tools, content = tmp_path / 'tools', tmp_path / 'content/usr/share/doc'
    tools.mkdir()
    content.mkdir(parents=True)
    stand_in(tools, 'dpkg', f'cp -r {tmp_path / "content"} "$3"')
    stand_in(tools, 'apt-get', 'for last; do :; done; touch "$last.deb"')
    monkeypatch.setenv('PATH', f'{tools}:/usr/bin:/bin')
    return content


def test_package_is_fetched_once(settings: dict, tmp_path: Path, package: Path) -> None:
    video = write_video(tmp_path / 'video.avi', frames(12))
    (package / 'video.avi.gz').write_bytes(gzip.compress(video.read_bytes()))
    for number, image in enumerate(frames(5, seed=1)):
        cv2.imwrite(str(package / f'{number}.jpg'), image)
    counts = material.prepare(settings, GIVEN, tmp_path / 'material')
    assert counts['photographs'] == 3  # those that the settings name
    stand_in(tmp_path / 'tools', 'apt-get', 'exit 1')
    assert material.prepare(settings, GIVEN, tmp_path / 'material') == counts


def test_moved_video_is_named(settings: dict, tmp_path: Path, package: Path) -> None:
    (package / 'readme').touch()
    with pytest.raises(MissingError, match=r'holds no video\.avi: .*make demo VIDEO=/path'):
        material.prepare(settings, GIVEN, tmp_path / 'material')


def test_lists_of_its_own_serve_where_the_system_has_none(
    settings: dict, tmp_path: Path, package: Path
) -> None:
    """The first apt-get knows no package; with its own lists it does."""
    script = (
        'for last; do :; done; case "$*" in\n'
        '*Dir::State::Lists*update) touch lists/fresh;;\n'
        '*Dir::State::Lists*) test -e lists/fresh && touch "$last.deb";;\n'
        '*) echo "E: Unable to locate package" >&2; exit 100;; esac'
    )
    stand_in(tmp_path / 'tools', 'apt-get', script)
    (package / 'readme').touch()
    found = material.fetch_package('opencv-doc', tmp_path / 'material', 3)
    assert list(found.rglob('readme'))


def test_reason_of_apt_is_passed_on(settings: dict, tmp_path: Path, package: Path) -> None:
    stand_in(tmp_path / 'tools', 'apt-get', 'echo "E: Unable to locate package" >&2; exit 100')
    with pytest.raises(MissingError, match='cannot be fetched: E: Unable to locate package'):
        material.fetch_package('opencv-doc', tmp_path / 'material', 3)


def test_settings_name_what_is_there() -> None:
    settings = run.expand(
        yaml.safe_load((ROOT / 'demo/cookie_box.yaml').read_text()),
        {'MATERIAL': Path('/m'), 'OUT': Path('/o'), 'DEMO': ROOT / 'demo'},
    )
    labels = Path(settings['material']['labels'])
    names = {path.name for path in labels.iterdir()}
    assert names == {'annotations.json', 'box.yaml', 'camera.yaml', 'video.yaml'}
    assert settings['model'] == '/m/box.yaml'
    merged = run.merge(settings, settings['quick'])
    assert merged['train']['config']['time_limit_s'] < settings['train']['config']['time_limit_s']
    assert merged['train']['preset'] == settings['train']['preset']


def test_labels_of_the_demo_are_sound() -> None:
    from synth_detect_ros.dataset.coco import read_coco  # noqa: PLC0415

    content = read_coco(ROOT / 'demo/cookie_box/annotations.json')
    assert len(content['images']) == len(content['annotations']) == 91
    for row in content['annotations']:
        points = np.concatenate([np.reshape(p, (-1, 2)) for p in row['segmentation']])
        low, high = points.min(axis=0), points.max(axis=0)
        x, y, width, height = row['bbox']
        np.testing.assert_allclose([x, y, x + width, y + height], [*low, *high], atol=0.2)


@pytest.mark.parametrize(('found', 'status'), [(0.9, 0), (0.5, 0), (0.49, 1), (None, 1)])
def test_a_box_that_is_not_found_fails_the_demo(found: float | None, status: int, capsys) -> None:
    metrics = {'real': {'frozen': {'box': {'boxes': {'AP50': found}}}}}
    assert run.check(metrics, {'least_AP50': 0.5}) == status
    assert ('wanted 0.5 or more' in capsys.readouterr().err) == bool(status)


def test_missing_data_is_named(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / 'demo/run.py', '--data', tmp_path, '--out', tmp_path / 'out']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'inputs are missing, first' in done.stderr and 'two_objects.yaml' in done.stderr
