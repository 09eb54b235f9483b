"""The demo's own parts: what is fetched is checked, frames that were seen are not scored."""

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tiny
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'demo'))

import material  # noqa: E402
import page  # noqa: E402
import run  # noqa: E402
import stages  # noqa: E402
from commands import DemoError, MissingError, Runner  # noqa: E402

from synth_detect_ros.config import FasterRCNNConfig  # noqa: E402
from synth_detect_ros.errors import WeightsError  # noqa: E402

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
    counts = material.prepare(settings, given(tmp_path), tmp_path, out)
    assert counts == {
        'photographs': 5, 'frames': 12, 'test': 8, 'second_half': 4, 'first_half': 4,
    }  # fmt: skip
    assert len(list((out / 'frames').iterdir())) == 11
    assert len(list((out / 'photographs').iterdir())) == 5
    assert {p.name for p in out.iterdir()} >= {'video.avi', 'box.yaml', 'camera.yaml'}


def test_frames_near_a_texture_are_not_scored(settings: dict, tmp_path: Path) -> None:
    out = tmp_path / 'material'
    material.prepare(settings, given(tmp_path), tmp_path, out)
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
    material.prepare(settings, given(tmp_path, video=packed), tmp_path, tmp_path / 'material')
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
        material.prepare(settings, given(tmp_path, video=video), tmp_path, tmp_path / 'material')


def test_video_that_is_not_there_is_named(settings: dict, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r'VIDEO: .*gone.avi cannot be read'):
        material.prepare(
            settings, given(tmp_path, video=tmp_path / 'gone.avi'), tmp_path, tmp_path / 'material'
        )


def test_too_few_photographs_are_refused(settings: dict, tmp_path: Path) -> None:
    (tmp_path / 'few').mkdir()
    with pytest.raises(MissingError, match='PHOTOS: wanted 3 photographs or more, got 0'):
        material.prepare(
            settings,
            given(tmp_path, photographs=tmp_path / 'few'),
            tmp_path,
            tmp_path / 'material',
        )


def test_broken_photograph_is_named(settings: dict, tmp_path: Path) -> None:
    (tmp_path / 'photos/half.jpg').write_bytes((tmp_path / 'photos/0.jpg').read_bytes()[:400])
    (tmp_path / 'photos/folder.png').mkdir()  # no photograph, and none that is counted
    with pytest.raises(MissingError, match=r'PHOTOS: .*half\.jpg is no complete image'):
        material.prepare(settings, given(tmp_path), tmp_path, tmp_path / 'material')


def test_cut_video_archive_is_named(settings: dict, tmp_path: Path) -> None:
    video = write_video(tmp_path / 'whole.avi', frames(12))
    packed = tmp_path / 'cut.avi.gz'
    packed.write_bytes(gzip.compress(video.read_bytes())[:-50])
    with pytest.raises(MissingError, match=r'VIDEO: .*cut\.avi\.gz cannot be read'):
        material.prepare(settings, given(tmp_path, video=packed), tmp_path, tmp_path / 'material')


def test_without_apt_both_files_are_named(settings: dict, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(MissingError) as error:
        material.prepare(settings, GIVEN, tmp_path, tmp_path / 'material')
    text = str(error.value)
    assert 'there is no apt-get on this machine' in text
    assert 'make demo VIDEO=/path/to/box.mp4 PHOTOS=/path/to/photographs' in text
    assert 'folder of 3 photographs or more' in text
    assert not list(tmp_path.glob('*package*'))


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
    counts = material.prepare(settings, GIVEN, tmp_path, tmp_path / 'material')
    assert counts['photographs'] == 3  # those that the settings name
    stand_in(tmp_path / 'tools', 'apt-get', 'exit 1')
    assert material.prepare(settings, GIVEN, tmp_path, tmp_path / 'material') == counts


def test_moved_video_is_named(settings: dict, tmp_path: Path, package: Path) -> None:
    (package / 'readme').touch()
    with pytest.raises(MissingError, match=r'holds no video\.avi: .*make demo VIDEO=/path'):
        material.prepare(settings, GIVEN, tmp_path, tmp_path / 'material')


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


@pytest.fixture
def demo(tmp_path: Path) -> stages.Demo:
    return stages.Demo({'train': {}}, tmp_path / 'out', Runner(tmp_path / 'out', {}))


def test_a_stage_is_done_once_for_the_same_inputs(demo: stages.Demo) -> None:
    done: list[str] = []

    def work(folder: Path) -> dict[str, int]:
        done.append(folder.name)
        (folder / f'{len(done)}').touch()
        return {'n': len(done)}

    first = demo.stage('one', {'a': 1}, work)
    assert demo.stage('one', {'a': 1}, work) == first and done == ['one']
    assert demo.stage('one', {'a': 2}, work)['results'] == {'n': 2}
    assert {p.name for p in (demo.out / 'one').iterdir()} == {'2', 'stage.json'}


def test_a_folder_without_a_record_is_never_emptied(demo: stages.Demo) -> None:
    (demo.out / 'mine').mkdir()
    (demo.out / 'mine/precious').touch()
    demo.stage('mine', {}, lambda folder: {})
    assert (demo.out / 'mine/precious').exists()


def test_interrupted_stage_goes_on_where_it_was(demo: stages.Demo) -> None:
    def interrupted(folder: Path) -> dict[str, int]:
        (folder / 'half').touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.stage('one', {}, interrupted)
    found = demo.stage('one', {}, lambda f: {'there': (f / 'half').exists()})
    assert found['results'] == {'there': True}


def offline(*names: str):
    def build(config: FasterRCNNConfig) -> SimpleNamespace:
        if config.extractor in names:
            raise WeightsError(f'{config.extractor} cannot be downloaded (no network). Fetch it.')
        return SimpleNamespace(source=f'the source of {config.extractor}')

    return build


@pytest.mark.parametrize(
    ('gone', 'name', 'why'),
    [
        ((), 'mobilenet_v2', 'its weights come from the source of mobilenet_v2'),
        (
            ('mobilenet_v2',),
            'efficientnet_lite0',
            'its weights come from the source of efficientnet_lite0, since mobilenet_v2 cannot be '
            'downloaded (no network)',
        ),
    ],
)
def test_extractor_falls_back_and_says_why(demo, monkeypatch, capsys, gone, name, why) -> None:
    monkeypatch.setattr(
        'synth_detect_ros.detectors.extractors.build.build_extractor', offline(*gone)
    )
    found = stages.extractor(demo)['results']
    assert (found['extractor'], found['why']) == (name, why)
    assert f'{name}, {why}' in capsys.readouterr().out


def test_extractor_of_an_earlier_run_stays(demo: stages.Demo, monkeypatch) -> None:
    where = 'synth_detect_ros.detectors.extractors.build.build_extractor'
    monkeypatch.setattr(where, offline('mobilenet_v2'))
    first = stages.extractor(demo)['results']
    monkeypatch.setattr(where, offline())
    assert stages.extractor(demo)['results'] == first
    monkeypatch.setattr(where, offline('efficientnet_lite0'))
    assert stages.extractor(demo)['results']['extractor'] == 'mobilenet_v2'


def test_without_any_extractor_the_demo_ends(demo: stages.Demo, monkeypatch) -> None:
    where = 'synth_detect_ros.detectors.extractors.build.build_extractor'
    monkeypatch.setattr(where, offline(*stages.EXTRACTORS))
    with pytest.raises(MissingError, match='no extractor can be had: efficientnet_lite0 cannot'):
        stages.extractor(demo)


def test_weights_that_are_not_there_are_named_at_once(demo: stages.Demo) -> None:
    demo.settings['train']['weights'] = '/nowhere/net.safetensors'
    with pytest.raises(MissingError, match=r'WEIGHTS: there is no /nowhere/net\.safetensors'):
        stages.extractor(demo)


def test_labels_without_files_are_dropped_from_partial_sets_only(tmp_path: Path) -> None:
    (tmp_path / '0.png').touch()
    content = {
        'images': [{'id': 0, 'file_name': '0.png'}, {'id': 1, 'file_name': '1.png'}],
        'annotations': [{'image_id': 0}, {'image_id': 1}],
    }
    file = tmp_path / 'labels.json'
    file.write_text(json.dumps(content))
    facts = {'annotations': str(file), 'images': str(tmp_path)}
    assert stages.present(facts) == content
    kept = stages.present({**facts, 'partial': True})
    assert [row['id'] for row in kept['images']] == [0]
    assert kept['annotations'] == [{'image_id': 0}]


def test_a_command_ends_when_a_node_it_needs_fails(tmp_path: Path) -> None:
    runner = Runner(tmp_path, {})
    fails = [sys.executable, '-c', 'import sys; sys.exit("no such topic")']
    waits = [sys.executable, '-c', 'import time; time.sleep(60)']
    start = time.monotonic()
    with pytest.raises(DemoError, match='no such topic'), runner.background('node', fails):
        runner.run('command', waits, timeout_s=50)
    assert time.monotonic() - start < 30


def test_a_command_that_fails_is_named_with_its_log(tmp_path: Path) -> None:
    fails = [sys.executable, '-c', 'import sys; sys.exit(3)']
    with pytest.raises(DemoError, match=r'failed \(status 3\)\. Its log: .*logs/name\.log'):
        Runner(tmp_path, {}).run('name', fails, timeout_s=20)


SCORES = {'AP': 0.5, 'AP50': 0.9, 'AP75': 0.4, 'AR100': 0.6}


def test_metrics_hold_what_every_detector_reached() -> None:
    row = {'boxes': {**SCORES, 'more': 1}, 'masks': None, 'images': 3, 'ms_per_image': 2.0}
    trained = {'images': 7, 'steps': 5, 'seconds': 9.0, 'model': {}}
    records = {
        'extractor': {'extractor': 'net', 'why': 'because'},
        'capture': {'frames': 4, 'images': 7, 'images_per_second': 3.0},
        'train_frozen': trained,
        'evaluate_frozen': {'box': {**row, 'masks': SCORES}},
        'train_real': trained,
        'evaluate_real': {'second half': row},
        'live': {'inference_ms': 1.0, 'overhead_ms': 2.0, 'age_ms_p95': 3.0},
    }
    found = run.summary({k: {'results': v, 'seconds': 10} for k, v in records.items()})
    assert found['real'] == {
        'frozen': {'box': {'boxes': SCORES, 'masks': SCORES}},
        'real': {'second half': {'boxes': SCORES}},
    }
    assert found['train']['real']['steps'] == 5 and found['seconds'] == 70


@pytest.mark.parametrize('whole', [False, True], ids=['without generator', 'all stages'])
def test_page_shows_every_stage(tmp_path: Path, monkeypatch, whole: bool) -> None:
    monkeypatch.setattr(page, '_real', lambda demo: [('box', [], [('missed', frames(1)[0])])])
    for folder in ('capture/backgrounds/frames', 'live', 'model', 'train_frozen/run'):
        (tmp_path / folder).mkdir(parents=True)
    for file in ('capture/backgrounds/frames/7.png', 'live/0.jpg', 'model/turntable.png'):
        cv2.imwrite(str(tmp_path / file), frames(1)[0])
    tiny.write_dataset(tmp_path / 'capture/dataset', count=3)
    (tmp_path / 'train_frozen/run/log.csv').write_text('elapsed_s,loss\n6,2\n12,1\n')
    freeze = {'frozen': {'first_stage': 2_000_000}, 'trainable': 1_500_000}
    detector = {'architecture': 'faster_rcnn', 'extractor': 'a <net>'}
    row = {'boxes': SCORES, 'masks': None, 'images': 3, 'ms_per_image': 2.0}
    results = {
        'extractor': {'extractor': 'net', 'why': 'because'},
        'capture': {'frames': 4, 'images': 7, 'instances': 9, 'images_per_second': 3.0},
        'train_frozen': {
            **{'images': 7, 'steps': 5, 'seconds': 9.0},
            'model': {'freeze': freeze, 'detector': detector},
        },
        'evaluate_frozen': {'box': row},
        'live': {'inference_ms': 1.25, 'overhead_ms': None, 'age_ms_p95': 3.0},
    }
    if whole:
        results |= {'material': {'test': 41}, 'model': {}}
        rates = {'images_per_second': 50.0, 'peer_images_per_second': None, 'rss_growth': 0.015}
        results['generator'] = rates
    records = {k: {'results': v, 'seconds': 10, 'commands': [k]} for k, v in results.items()}
    demo = stages.Demo({'labels': 'Labels by hand.'}, tmp_path, Runner(tmp_path, {}))
    text = page.write_page(demo, records, run.summary(records)).read_text()
    titles = ['Capture', 'Synthesize', 'Train', 'Evaluate on real frames', 'Detect live']
    titles = ['Model', *titles, 'Generator'] if whole else titles
    assert [part.partition('</h2>')[0] for part in text.split('<h2>')[1:]] == titles
    wanted = ['0.400', '2.00 M', '1.50 M', 'a &lt;net&gt;', 'Labels by hand.', '1.2 ms', '- ms']
    wanted += ['41 of the', '50.0', 'set PEER', '+1.5%'] if whole else []
    assert [part for part in wanted if part not in text] == []
    folded = [name for name in records if name not in ('extractor', 'material')]
    assert all(f'<pre>{name}</pre>' in text for name in folded)
    assert text.count('<img') == 1 + 3 + 1 + 1 + whole


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
