"""The generator as a whole: a pure function of the index, for any workers, kills and switches."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import scenes
import yaml
from numpy.typing import NDArray

from synth_detect_ros import files
from synth_detect_ros.compute.timing import Timing
from synth_detect_ros.config import (
    BackgroundConfig,
    ComposeConfig,
    SceneConfig,
    SensorConfig,
    SynthesizeConfig,
)
from synth_detect_ros.config.options import read_config, to_yaml
from synth_detect_ros.dataset import storage
from synth_detect_ros.dataset.coco import quiet_coco, read_coco
from synth_detect_ros.dataset.inputs import read_inputs
from synth_detect_ros.dataset.storage import COCO_FILE, SHARD, read_info
from synth_detect_ros.dataset.synthesize import make_sample, synthesize
from synth_detect_ros.errors import (
    BackgroundError,
    ConfigError,
    DatasetError,
    GeometryError,
    MeshError,
    StorageError,
    UncalibratedCameraError,
)
from synth_detect_ros.files import read_image
from synth_detect_ros.geometry.boxes import box_of_mask

COUNT = 2 * SHARD + 4


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a data set but dataset.yaml, which names its folder."""
    files = [path for path in folder.rglob('*') if path.is_file() and path.name != 'dataset.yaml']
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> SynthesizeConfig:
    return scenes.config(tmp_path_factory.mktemp('inputs'), count=COUNT)


@pytest.fixture(scope='module')
def whole(config: SynthesizeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data set of the configuration, made in one go by one process."""
    return synthesize(config.replace(out=str(tmp_path_factory.mktemp('whole') / 'set')))


def test_samples_tell_the_truth_about_themselves(config: SynthesizeConfig) -> None:
    generator = scenes.generator(config)
    for index in range(10):
        sample = make_sample(generator, index)
        truth = sample.instances
        assert sample.image.shape == (120, 160, 3) and sample.ids.max() == len(truth)
        for i in range(len(truth)):
            mask = sample.ids == i + 1
            np.testing.assert_array_equal(truth.boxes[i], box_of_mask(mask))
            assert truth.visib_fract[i] >= config.scene.min_visib_fract
            assert (truth.amodal_boxes[i, :2] <= truth.boxes[i, :2]).all()
            assert (truth.amodal_boxes[i, 2:] >= truth.boxes[i, 2:]).all()
            if truth.visib_fract[i] == 1:
                np.testing.assert_array_equal(truth.amodal_boxes[i], truth.boxes[i])


def test_a_sample_depends_on_its_index_alone(config: SynthesizeConfig) -> None:
    forward, backward = scenes.generator(config), scenes.generator(config)
    wanted = [make_sample(forward, i) for i in range(5)]
    for index in (4, 2, 0, 3, 1):
        sample = make_sample(backward, index)
        np.testing.assert_array_equal(sample.image, wanted[index].image)
        np.testing.assert_array_equal(sample.instances.poses, wanted[index].instances.poses)
    other = make_sample(scenes.generator(config.replace(seed=4)), 0)
    assert not np.array_equal(other.image, wanted[0].image)


def test_the_stored_set_is_what_the_function_makes(config: SynthesizeConfig, whole: Path) -> None:
    generator, coco = scenes.generator(config), quiet_coco(read_coco(whole / COCO_FILE))
    names = tuple(category['name'] for category in coco.dataset['categories'])
    assert names == ('cube', 'ball') and len(coco.imgs) == COUNT
    for index in (0, SHARD, COUNT - 1):
        wanted, rows = make_sample(generator, index), coco.imgToAnns[index]
        for number, row in enumerate(rows):
            np.testing.assert_array_equal(coco.annToMask(row) > 0, wanted.ids == number + 1)
        assert [row['pose'] for row in rows] == wanted.instances.poses.tolist()
        image = read_image(whole / 'images' / coco.imgs[index]['file_name'])
        assert np.abs(image.astype(int) - wanted.image).mean() < 3


def test_the_folder_says_what_it_was_made_from(config: SynthesizeConfig, whole: Path) -> None:
    info = yaml.safe_load((whole / 'dataset.yaml').read_text())
    assert info['seed'] == config.seed and info['classes'] == ['cube', 'ball']
    assert info['camera']['image_width'] == 160
    assert info['config']['pose']['view_level'] == config.pose.view_level
    assert {model['name'] for model in info['inputs']['models']} == {'cube', 'ball', 'other'}
    assert info['versions']['numpy'] == np.__version__


def test_any_number_of_workers_gives_the_same_bytes(
    config: SynthesizeConfig, whole: Path, tmp_path: Path
) -> None:
    reports: list[tuple[int, int, Timing]] = []
    folder = synthesize(
        config.replace(out=str(tmp_path / 'set'), workers=2),
        lambda *report: reports.append(report),
    )
    assert content(folder) == content(whole)
    assert [done for done, _, _ in reports] == sorted({done for done, _, _ in reports})
    done, total, timing = reports[-1]
    assert done == total == timing.images == COUNT and timing.workers == 2 and timing.rate > 0
    assert read_info(folder)['timing'] == timing.to_mapping()


def test_the_folder_says_where_the_time_went(config: SynthesizeConfig, whole: Path) -> None:
    timing = read_info(whole)['timing']
    assert timing['images'] == COUNT and timing['workers'] == 1
    stages = timing['ms_per_image']
    assert set(stages) == {'scene', 'background', 'compose', 'encode', 'write'}
    here = sum(stages[name] for name in ('scene', 'background', 'compose'))  # one after the other
    assert 0 < COUNT * here / 1e3 <= timing['wall_s']


def test_stages_of_a_sample_are_timed(config: SynthesizeConfig) -> None:
    generator = scenes.generator(config.replace(sensor=SensorConfig(enabled=True)))
    make_sample(generator, 0)
    assert set(generator.watch.take()) == {'scene', 'background', 'compose', 'sensor'}


def test_a_stopped_run_goes_on_to_the_same_bytes(
    config: SynthesizeConfig, whole: Path, tmp_path: Path
) -> None:
    config, images = config.replace(out=str(tmp_path / 'set')), tmp_path / 'set' / 'images'
    folder = synthesize(config, stop=lambda: len(list(images.iterdir())) > SHARD + 3)
    assert SHARD + 3 < len(list(images.iterdir())) < 2 * SHARD
    assert not (folder / 'annotations.json').exists()
    with pytest.raises(DatasetError, match='interrupted'):
        read_coco(folder / COCO_FILE)
    done: list[int] = []
    synthesize(config, lambda n, total, timing: done.append(n))
    assert done == [2 * SHARD, COUNT]
    assert content(folder) == content(whole)
    assert read_info(folder)['timing']['images'] == COUNT - SHARD


def test_a_full_disk_is_reported_and_its_shard_is_made_again(
    config: SynthesizeConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, writes = config.replace(out=str(tmp_path / 'set')), files.write_atomic

    def full(path: Path, data: bytes) -> None:
        if path.name == f'{SHARD + 2:06d}.jpg':
            raise StorageError(errno.ENOSPC, 'no room')
        writes(path, data)

    monkeypatch.setattr(storage, 'write_atomic', full)
    with pytest.raises(StorageError, match='no room'):
        synthesize(config)
    parts = tmp_path / 'set' / 'parts'
    assert [path.name for path in parts.iterdir()] == ['00000000.jsonl']
    monkeypatch.setattr(storage, 'write_atomic', writes)
    assert content(synthesize(config)) == content(whole)


def test_a_shard_is_recorded_after_its_images(
    config: SynthesizeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def slow(path: Path, data: bytes) -> None:
        time.sleep(0.02)
        names.append(path.name)
        files.write_atomic(path, data)

    monkeypatch.setattr(storage, 'write_atomic', slow)
    synthesize(config.replace(out=str(tmp_path / 'set'), count=SHARD + 1))
    images = [f'{i:06d}.jpg' for i in range(SHARD + 1)]
    assert names == [
        'dataset.yaml', *images[:SHARD], '00000000.jsonl', images[SHARD],
        f'{SHARD:08d}.jsonl', 'dataset.yaml', 'annotations.json',
    ]  # fmt: skip


def test_a_killed_run_goes_on_to_the_same_bytes(
    config: SynthesizeConfig, whole: Path, tmp_path: Path
) -> None:
    config = config.replace(out=str(tmp_path / 'set'), workers=1)
    (tmp_path / 'config.yaml').write_text(to_yaml(config))
    script = (
        'import sys; from pathlib import Path\n'
        'from synth_detect_ros.config import SynthesizeConfig\n'
        'from synth_detect_ros.dataset.synthesize import synthesize\n'
        'from synth_detect_ros.config.options import read_config\n'
        'if __name__ == "__main__":\n'
        '    synthesize(read_config(SynthesizeConfig, Path(sys.argv[1])))\n'
    )
    (tmp_path / 'main.py').write_text(script)
    images = tmp_path / 'set' / 'images'
    command = [sys.executable, str(tmp_path / 'main.py'), str(tmp_path / 'config.yaml')]
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment) as run:
        deadline = time.monotonic() + 60
        while len(list(images.glob('*'))) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    assert not (tmp_path / 'set' / 'annotations.json').exists()
    assert list(images.glob('*.jpg'))
    synthesize(config)
    assert content(tmp_path / 'set') == content(whole)


def test_objects_without_room_are_counted(
    config: SynthesizeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crowd = SceneConfig(targets=(8, 8), distractors=(0, 0), occlusion=False)
    config = config.replace(count=2, scene=crowd, out=str(tmp_path / 'set'))
    made = len(read_coco(synthesize(config) / COCO_FILE)['annotations'])
    assert made < 16
    assert f'{16 - made} of 16 objects found no room' in caplog.text


@pytest.mark.parametrize(
    ('distance_m', 'reason'),
    [((300.0, 900.0), 'px large at most'), ((0.001, 0.002), 'reaches behind the camera')],
)
def test_distances_in_another_unit_are_refused(
    config: SynthesizeConfig, tmp_path: Path, distance_m: tuple[float, float], reason: str
) -> None:
    pose = config.pose.replace(distance_m=distance_m)
    with pytest.raises(ConfigError, match=rf'distance_m .*{reason}\. Distances are in metres'):
        synthesize(config.replace(pose=pose, out=str(tmp_path / 'set')))
    assert not (tmp_path / 'set').exists()


def test_distances_nearer_than_the_radius_are_legal(config: SynthesizeConfig) -> None:
    pose = config.pose.replace(distance_m=(0.02, 0.05))
    assert read_inputs(config.replace(pose=pose)).targets


def test_a_set_without_any_object_is_an_error(config: SynthesizeConfig, tmp_path: Path) -> None:
    scene = config.scene.replace(max_truncation=0.0, min_visib_fract=1.0)
    pose = config.pose.replace(size_fraction=(1.9, 2.0))
    config = config.replace(count=2, scene=scene, pose=pose, out=str(tmp_path / 'set'))
    with pytest.raises(DatasetError, match=r'none of [0-9]+ objects found room'):
        synthesize(config)


def test_a_complete_set_is_left_as_it_is(config: SynthesizeConfig, whole: Path) -> None:
    before = content(whole)
    times = {path: path.stat().st_mtime_ns for path in whole.rglob('*')}
    assert synthesize(config.replace(out=str(whole))) == whole
    assert content(whole) == before
    assert {path: path.stat().st_mtime_ns for path in whole.rglob('*')} == times


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'seed': 4}, r'seed is \d+ there, 4 here\.'),
        ({'count': COUNT + 1}, f'count is {COUNT} there, {COUNT + 1} here'),
        ({'compose': ComposeConfig(noise=False)}, 'compose.noise is True there, False here'),
        ({'distractors': ''}, r'data set: its CAD models or their limits differ\.'),
        ({'camera_hfov_deg': 50.0}, 'camera_hfov_deg is .* there, 50.0 here, its camera differs'),
    ],
)
def test_a_set_of_another_configuration_is_refused_with_what_differs(
    config: SynthesizeConfig, whole: Path, change: dict[str, object], words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        synthesize(config.replace(out=str(whole), **change))


def image_of(config: SynthesizeConfig, **changes: object) -> NDArray[np.uint8]:
    return make_sample(scenes.generator(config.replace(**changes)), 1).image


def test_each_switch_changes_the_image_and_nothing_else(config: SynthesizeConfig) -> None:
    plain = image_of(config)
    ids = make_sample(scenes.generator(config), 1).ids
    on_objects = [
        ComposeConfig(noise=False),
        ComposeConfig(blur=False),
        ComposeConfig(blending='gaussian'),
        ComposeConfig(blending='poisson'),
    ]
    for compose in on_objects:
        changed = scenes.generator(config.replace(compose=compose))
        image = make_sample(changed, 1)
        assert not np.array_equal(image.image, plain)
        np.testing.assert_array_equal(image.ids, ids)
        far = cv2.dilate((changed.scene(1).canvas.colour[..., 3] > 0) * np.uint8(1),
                         np.ones((31, 31), np.uint8)) == 0  # fmt: skip
        assert far.any()
        np.testing.assert_array_equal(image.image[far], plain[far])
    everywhere = {
        'background': BackgroundConfig(swap_channels=False, flip=False, rotate=False),
        'sensor': SensorConfig(enabled=True),
    }
    for name, group in everywhere.items():
        assert (image_of(config, **{name: group}) != plain).mean() > 0.3
        np.testing.assert_array_equal(
            make_sample(scenes.generator(config.replace(**{name: group})), 1).ids, ids
        )


def test_distortion_bends_images_and_masks(config: SynthesizeConfig, tmp_path: Path) -> None:
    bent = scenes.camera(160, 120, 144.0, D=np.array([-0.3, 0.1, 0.0, 0.0, 0.0]))
    (tmp_path / 'bent.yaml').write_text(yaml.safe_dump(bent.to_calibration()))
    generator = scenes.generator(config.replace(camera=str(tmp_path / 'bent.yaml')))
    assert generator.camera == bent
    for index in range(3):
        sample = make_sample(generator, index)
        assert len(sample.instances) and (sample.instances.visib_fract > 0).all()


def test_where_the_camera_comes_from(config: SynthesizeConfig, tmp_path: Path) -> None:
    own = read_inputs(config).camera
    assert own.K[0, 0] == pytest.approx(144)
    wide = read_inputs(config.replace(camera_hfov_deg=90.0)).camera
    assert wide.size == (160, 120) and wide.K[0, 0] == pytest.approx(80)
    scenes.write_backgrounds(tmp_path / 'set')
    (tmp_path / 'set' / 'camera.yaml').unlink()
    with pytest.raises(UncalibratedCameraError, match='camera_hfov_deg'):
        read_inputs(config.replace(backgrounds=str(tmp_path / 'set')))


@pytest.mark.parametrize('broken', ['[', 'image_width: 3', 'uncalibrated', 'another ratio'])
def test_a_given_camera_counts_whatever_the_backgrounds_say(
    config: SynthesizeConfig, tmp_path: Path, broken: str
) -> None:
    scenes.write_backgrounds(tmp_path / 'set')
    own = read_inputs(config).camera
    calibrations = {
        'uncalibrated': own.to_calibration() | {'camera_matrix': {'data': [0.0] * 9}},
        'another ratio': own.to_calibration() | {'image_height': 91},
    }
    text = yaml.safe_dump(calibrations[broken]) if broken in calibrations else broken
    (tmp_path / 'set' / 'camera.yaml').write_text(text)
    config = config.replace(backgrounds=str(tmp_path / 'set'))
    with pytest.raises(GeometryError, match=r'set/camera\.yaml'):
        read_inputs(config)
    assert read_inputs(config.replace(camera_hfov_deg=90.0)).camera.K[0, 0] == pytest.approx(80)
    (tmp_path / 'given.yaml').write_text(yaml.safe_dump(own.to_calibration()))
    assert read_inputs(config.replace(camera=str(tmp_path / 'given.yaml'))).camera == own


def test_a_given_camera_of_another_size_is_said(
    config: SynthesizeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    larger = scenes.camera(320, 200, 288.0)
    (tmp_path / 'given.yaml').write_text(yaml.safe_dump(larger.to_calibration()))
    assert read_inputs(config.replace(camera=str(tmp_path / 'given.yaml'))).camera == larger
    assert 'Images are made of 320x200 pixels' in caplog.text


@pytest.mark.parametrize('key', ['objects', 'backgrounds', 'out'])
def test_a_path_that_is_not_given_is_named(config: SynthesizeConfig, key: str) -> None:
    with pytest.raises(ConfigError, match=f'synthesize needs {key}: give it'):
        synthesize(config.replace(**{key: ''}))


def test_missing_inputs_leave_no_folder_behind(config: SynthesizeConfig, tmp_path: Path) -> None:
    out = tmp_path / 'set'
    with pytest.raises(BackgroundError, match='no such folder'):
        synthesize(config.replace(out=str(out), backgrounds=str(tmp_path / 'none')))
    objects = scenes.write_objects(tmp_path, lost=tmp_path / 'lost.obj')
    with pytest.raises(MeshError, match=r'lost\.obj: no such CAD file'):
        synthesize(config.replace(out=str(out), objects=str(objects)))
    assert not out.exists()


def test_synthesize_yaml_lists_every_option_with_its_default_and_comment() -> None:
    def options(text: str) -> list[str]:
        return [line for line in text.splitlines() if line[:1] != '#']

    path = Path(__file__).parents[2] / 'config' / 'synthesize.yaml'
    assert options(path.read_text()) == options(to_yaml(SynthesizeConfig()))
    assert read_config(SynthesizeConfig, path) == SynthesizeConfig()


def test_the_preset_of_the_paper_renders_one_object_alone(config: SynthesizeConfig) -> None:
    path = Path(__file__).parents[2] / 'config' / 'synthesize_paper.yaml'
    paper = read_config(SynthesizeConfig, path)
    paths = {key: getattr(config, key) for key in ('objects', 'distractors', 'backgrounds')}
    generator = scenes.generator(paper.replace(**paths))
    assert [len(generator.scene(index).canvas.layers) for index in range(4)] == [1, 1, 1, 1]
