"""Grids of trainings: split by time, run once, resumed, failures told, numbers on the page."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import tiny
import yaml

from synth_detect_ros import __version__
from synth_detect_ros.config import ExperimentConfig, ExportConfig
from synth_detect_ros.errors import ConfigError, DatasetError, WeightsError
from synth_detect_ros.evaluation.evaluate import evaluate
from synth_detect_ros.experiments import experiment as module
from synth_detect_ros.experiments import plan as plan_module
from synth_detect_ros.experiments.experiment import experiment
from synth_detect_ros.experiments.grid import merge, read_grid, read_setup
from synth_detect_ros.experiments.page import write_page
from synth_detect_ros.experiments.plan import choose, file_digest, plan
from synth_detect_ros.experiments.processes import CommandError, ProcessPool
from synth_detect_ros.experiments.real_split import split_by_time, write_split
from synth_detect_ros.report.plots import curves
from synth_detect_ros.training.train import train

ROOT = Path(__file__).parents[2]
GRIDS = sorted((ROOT / 'config' / 'experiments').glob('*.yaml'))
SMALL = {'steps': 2, 'freeze': 'none', 'workers': 0, 'val_share': 0.25, 'device': 'cpu'}


@pytest.fixture
def setup_file(tmp_path: Path) -> Path:
    """Write a setup of one camera; what it would render is there already, as coloured boxes."""
    tiny.write_dataset(tmp_path / 'real', count=8, seed=1)
    (tmp_path / 'objects.yaml').write_text(
        yaml.safe_dump({'objects': [{'name': name, 'mesh': 'none.obj'} for name in tiny.CLASSES]})
    )
    real = {'name': 'room', 'images': 'real/images', 'annotations': 'real/annotations.json'}
    camera = {'name': 'cam', 'synthesize': {'objects': 'objects.yaml'}, 'real': [real]}
    content = {'cameras': [camera], 'train': {**SMALL, 'detector': tiny.TINY_DETECTOR}}
    path = tmp_path / 'setup.yaml'
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def grid_file(tmp_path: Path) -> Path:
    cells = [
        {'name': 'naive'},
        {'name': 'twin', 'data': 'real'},
        {'name': 'broken', 'train': {'detector': {'weights': str(tmp_path / 'gone')}}},
    ]
    path = tmp_path / 'grid.yaml'
    path.write_text(yaml.safe_dump({'title': 'Two ways', 'plot': 'bars', 'cells': cells}))
    return path


@pytest.fixture
def config(tmp_path: Path, setup_file: Path, grid_file: Path, monkeypatch) -> ExperimentConfig:
    def render(options) -> None:
        if not (Path(options.out) / 'annotations.json').is_file():
            tiny.write_dataset(Path(options.out))

    def command(pool, name, options, folder) -> None:  # here, as starting processes takes long
        folder.mkdir(parents=True, exist_ok=True)
        try:
            train(options) if name == 'train' else evaluate(options)
        except WeightsError as error:
            raise CommandError(str(error)) from error

    monkeypatch.setattr(module, 'synthesize', render)
    monkeypatch.setattr(ProcessPool, 'command', command)
    return ExperimentConfig(grid=str(grid_file), setup=str(setup_file), out=str(tmp_path / 'out'))


def test_grid_runs_once_goes_on_and_tells_failures(config: ExperimentConfig) -> None:
    out = Path(config.out)
    assert experiment(config) == 1
    rows = {r['cell']: r for r in json.loads((out / 'grid/results.json').read_text())['rows']}
    assert 'gone' in rows['broken']['error'] and not rows['naive']['error']
    for name in ('naive', 'twin'):
        assert rows[name]['steps'] == 2 and rows[name]['scores']['room']['images'] == 4
    page = (out / 'grid/index.html').read_text()
    plot = (out / 'grid/plots/cam_room_boxes_bars.svg').read_text()
    score = rows['naive']['scores']['room']['bbox']['AP50']
    assert '>naive</text>' in plot and f'>{score:.3f}</text>' in plot and plot in page
    markdown = (out / 'grid/results.md').read_text()
    recall = f'{rows["naive"]["scores"]["room"]["bbox"]["AR100"]:.3f}'
    for text in (page, markdown):
        assert 'Two ways' in text and 'twin' in text and recall in text and 'gone' in text

    assert rows['naive']['version'] == __version__ and 'not counted' not in markdown
    trained = {p: p.stat().st_mtime_ns for p in out.glob('runs/*/bundle/weights.safetensors')}
    shutil.rmtree(Path(rows['twin']['folder']) / 'scores')
    assert experiment(config) == 1
    again = {r['cell']: r for r in json.loads((out / 'grid/results.json').read_text())['rows']}
    assert again['twin']['scores']['room']['bbox'] == rows['twin']['scores']['room']['bbox']
    assert {p: p.stat().st_mtime_ns for p in trained} == trained and len(trained) == 2


def test_command_that_fails_tells_its_error_and_frees_its_cores(tmp_path: Path) -> None:
    pool = ProcessPool(1)
    options = ExportConfig(dataset=str(tmp_path / 'gone'), out=str(tmp_path / 'out'))
    task = partial(pool.command, 'export', options, tmp_path / 'cell')
    errors = pool.map([task, task], lambda done, total: None)
    assert all('gone' in error for error in errors) and len(errors) == 2


def test_split_by_time_keeps_order_and_shares_nothing() -> None:
    images = [{'id': k} for k in (7, 3, 9, 1, 5)]
    rows = [{'id': k, 'image_id': image['id']} for k, image in enumerate(images)]
    content = {'images': images, 'annotations': rows, 'categories': []}
    first, rest = split_by_time(content, 0.4)
    assert first['images'] + rest['images'] == images and len(first['images']) == 2
    assert first['annotations'] + rest['annotations'] == rows
    with pytest.raises(DatasetError, match='too few'):
        split_by_time(content, 0.01)


def test_real_training_set_leaves_out_images_with_excluded_annotations(
    setup_file: Path, tmp_path
) -> None:
    annotations = tmp_path / 'real' / 'annotations.json'
    content = json.loads(annotations.read_text())
    content['annotations'][0]['poor'] = True
    annotations.write_text(json.dumps(content))
    text = setup_file.read_text().replace('name: room', 'name: room\n    exclude: poor')
    setup_file.write_text(text)
    camera = read_setup(setup_file).cameras[0]
    tests = write_split(camera.real, tiny.CLASSES, 0.5, tmp_path / 'split')
    train = json.loads((tmp_path / 'split/train/annotations.json').read_text())
    test = json.loads(tests['room'].read_text())
    assert (len(train['images']), len(test['images'])) == (3, 4)
    assert (len(train['annotations']), len(test['annotations'])) == (3, 4)
    names = {image['file_name'] for image in train['images']}
    assert names == {p.name for p in (tmp_path / 'split/train/images').iterdir()}


def test_images_of_real_sets_keep_apart_and_are_checked(setup_file: Path, tmp_path) -> None:
    real = tmp_path / 'real'
    content = json.loads((real / 'annotations.json').read_text())
    (real / 'images' / 'a').mkdir()
    for row, name in zip(content['images'], ('a/b.png', 'a_b.png'), strict=False):
        (real / 'images' / row['file_name']).rename(real / 'images' / name)
        row['file_name'] = name
    (real / 'annotations.json').write_text(json.dumps(content))
    camera = read_setup(setup_file).cameras[0]
    write_split(camera.real, tiny.CLASSES, 0.5, tmp_path / 'split')
    train = json.loads((tmp_path / 'split/train/annotations.json').read_text())
    for row, old in zip(train['images'], content['images'], strict=False):
        copied = tmp_path / 'split/train/images' / row['file_name']
        assert copied.read_bytes() == (real / 'images' / old['file_name']).read_bytes()
    (real / 'images/a/b.png').unlink()
    (real / 'images/a/b.png').symlink_to('/dev/zero')
    with pytest.raises(DatasetError, match=r'a/b\.png: leads to /dev/zero'):
        write_split(camera.real, tiny.CLASSES, 0.5, tmp_path / 'other')


@pytest.mark.parametrize('name', ['a/b', '..', 'a\nb', ' '])
def test_a_name_of_a_real_set_is_one_of_a_file(setup_file: Path, name: str) -> None:
    content = yaml.safe_load(setup_file.read_text())
    content['cameras'][0]['real'][0]['name'] = name
    setup_file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match='wanted a name for files too'):
        read_setup(setup_file)


@pytest.mark.parametrize('objects', [None, {'a': 1}, 5, '', []])
def test_a_camera_needs_a_file_of_objects(setup_file: Path, grid_file, tmp_path, objects) -> None:
    content = yaml.safe_load(setup_file.read_text())
    content['cameras'][0]['synthesize']['objects'] = objects
    setup_file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match='objects'):
        plan(read_grid(str(grid_file)), read_setup(setup_file), tmp_path)


@pytest.mark.parametrize('text', ['', '5', '[]', '{}', '[5]', '[{name: "a\\nb"}]', '[{mesh: a}]'])
def test_a_list_of_objects_has_names(setup_file: Path, grid_file, tmp_path, text) -> None:
    (tmp_path / 'objects.yaml').write_text(f'objects: {text}\n')
    with pytest.raises(ConfigError, match='wanted a list of objects, each with a name'):
        plan(read_grid(str(grid_file)), read_setup(setup_file), tmp_path)


@pytest.mark.parametrize('text', ['', '{', '[' * 9999, '[]', '"\\ud800"', '9' * 9999])
def test_a_record_that_is_none_counts_as_missing(tmp_path: Path, text: str) -> None:
    (tmp_path / 'trained.json').write_text(text)
    assert plan_module.read_record(tmp_path / 'trained.json') == {}
    assert plan_module.read_record(tmp_path / 'gone.json') == {}


@pytest.mark.parametrize('path', GRIDS, ids=lambda path: path.stem)
def test_shipped_grid_makes_different_runs(path: Path, setup_file: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(setup_file.read_text())
    setup_file.write_text(yaml.safe_dump({'cameras': content['cameras']}))
    runs = plan(read_grid(path.stem), read_setup(setup_file), tmp_path)
    assert len({run.folder for run in runs}) == len(runs) > 1  # equal cells share a folder


def test_settings_reach_every_cell_and_budgets_multiply(grid_file, setup_file, tmp_path) -> None:
    settings = ('train.seed=5', 'budgets.steps=[3, 4]')
    grid = read_grid(str(grid_file), settings)
    runs = plan(grid, read_setup(setup_file), tmp_path)
    assert [run.train.steps for run in runs] == [3, 4] * 3
    assert {run.train.seed for run in runs} == {5}


def test_scores_over_a_budget_become_curves(tmp_path) -> None:
    results = [
        {
            **{'camera': 'cam', 'cell': 'naive', 'budget': {'steps': n}, 'error': ''},
            **{'steps': n, 'seconds': 60.0 * n, 'threads': 1, 'cores': 1, 'cpu': 'a processor'},
            'scores': {'room': {'bbox': {'AP': 0.1, 'AP50': n / 4, 'AP75': 0, 'AR100': 0}}},
        }
        for n in (1, 2, 4)
    ]
    write_page(read_grid('policies'), results, '', tmp_path)
    plots = {path.stem: path.read_text() for path in (tmp_path / 'plots').iterdir()}
    assert set(plots) == {'cam_room_boxes_minutes', 'cam_room_boxes_steps'}
    wanted = curves(
        {'naive': ([1, 2, 4], [0.25, 0.5, 1])},
        'steps',
        'mAP@.5 over steps, one training a point',
        top=1.0,
    )
    assert plots['cam_room_boxes_steps'] == wanted
    page = (tmp_path / 'index.html').read_text()
    assert all(plot in page for plot in plots.values()) and '1 of 1 cores of a processor' in page


def test_equal_cells_are_one_run(tmp_path, setup_file) -> None:
    cells = [{'name': 'one'}, {'name': 'two'}, {'name': 'other', 'train': {'seed': 1}}]
    (tmp_path / 'equal.yaml').write_text(yaml.safe_dump({'cells': cells}))
    grid, setup = read_grid(str(tmp_path / 'equal.yaml')), read_setup(setup_file)
    one, two, other = (run.folder for run in plan(grid, setup, tmp_path / 'out'))
    assert one == two != other
    two.mkdir(parents=True)
    assert [run.folder for run in plan(grid, setup, tmp_path / 'out')] == [one, two, other]


def test_other_version_is_another_run_and_the_old_one_is_told_apart(
    config: ExperimentConfig, monkeypatch, caplog
) -> None:
    out = Path(config.out)
    experiment(config)
    before = {path.parent.name for path in out.glob('runs/*/trained.json')}
    monkeypatch.setattr(plan_module, '__version__', '9.9.9')
    monkeypatch.setattr(module, '__version__', '9.9.9')
    experiment(config)
    after = {path.parent.name for path in out.glob('runs/*/trained.json')}
    assert before < after and len(after) == 2 * len(before)
    page, markdown = ((out / 'grid' / f).read_text() for f in ('index.html', 'results.md'))
    for text in (page, markdown, caplog.text):
        assert 'Kept, and not counted here' in text and 'synth_detect_ros than 9.9.9' in text
        assert all(f'{name} (version {__version__})' in text for name in before)
        assert not any(name in text for name in after - before)
    rows = {r['cell']: r for r in json.loads((out / 'grid/results.json').read_text())['rows']}
    assert rows['naive']['version'] == '9.9.9'


@pytest.mark.parametrize(
    ('name', 'option'), [('TrainConfig', {'batch': 7}), ('SynthesizeConfig', {'seed': 7})]
)
def test_other_default_is_another_run(name, option, grid_file, setup_file, tmp_path, monkeypatch):
    now = getattr(plan_module, name)

    class Later(now):
        """The same in a version that has another default."""

        def __init__(self, **values) -> None:
            super().__init__(**{**option, **values})

    grid, setup = read_grid(str(grid_file)), read_setup(setup_file)
    before = plan(grid, setup, tmp_path)[0]
    monkeypatch.setattr(plan_module, name, Later)
    after = plan(grid, setup, tmp_path)[0]
    assert before.folder != after.folder
    assert (before.render.out != after.render.out) == (name == 'SynthesizeConfig')


@pytest.mark.parametrize('changed', ['real/annotations.json', 'weights.pth'])
def test_files_with_other_contents_are_another_run(changed, tmp_path, setup_file, grid_file):
    content = yaml.safe_load(setup_file.read_text())
    content['extractors'] = {'mobilenet_v2': {'weights': 'weights.pth'}}
    del content['train']['detector']['weights']
    setup_file.write_text(yaml.safe_dump(content))
    (tmp_path / 'weights.pth').write_bytes(b'1')

    def folders():
        file_digest.cache_clear()
        return [run.folder for run in plan(read_grid(str(grid_file)), read_setup(setup_file), out)]

    out = tmp_path / 'out'
    before = folders()
    assert folders() == before
    path = tmp_path / changed
    path.write_bytes(path.read_bytes() + b' ')
    after = folders()
    assert after[1] != before[1]  # it trains on real frames, with these weights


def test_paths_in_a_grid_are_relative_to_its_file(tmp_path, setup_file, monkeypatch) -> None:
    folder = tmp_path / 'grids'
    folder.mkdir()
    for name in ('weights.pth', 'own.yaml'):
        (folder / name).touch()
    cell = {'name': 'a', 'train': {'detector': {'weights': 'weights.pth'}}}
    grid = {'synthesize': {'objects': 'own.yaml'}, 'cells': [cell]}
    (folder / 'grid.yaml').write_text(yaml.safe_dump(grid))
    monkeypatch.chdir(tmp_path)
    read = read_grid('grids/grid.yaml', ('train.val_images=here', 'train.val_annotations=a.json'))
    assert read.cells[0].train['detector']['weights'] == f'{folder}/weights.pth'
    assert read.synthesize['objects'] == f'{folder}/own.yaml'
    assert read.cells[0].train['val_images'] == f'{tmp_path}/here'


def test_seat_is_given_back_when_a_process_cannot_start(tmp_path, monkeypatch) -> None:
    pool = ProcessPool(1)
    options = ExportConfig(dataset=str(tmp_path / 'gone'), out=str(tmp_path / 'out'))
    monkeypatch.setattr('subprocess.Popen', lambda *_, **__: (_ for _ in ()).throw(OSError('no')))
    with pytest.raises(OSError, match='no'):
        pool.command('export', options, tmp_path / 'cell')
    monkeypatch.undo()
    with pytest.raises(CommandError, match='gone'):
        pool.command('export', options, tmp_path / 'cell')


def test_some_cells_of_a_grid_are_chosen_by_name(grid_file, setup_file, tmp_path) -> None:
    runs = plan(read_grid(str(grid_file)), read_setup(setup_file), tmp_path)
    assert choose(runs, '') == runs
    assert [run.cell for run in choose(runs, 'twin; naive')] == ['naive', 'twin']
    with pytest.raises(ConfigError, match=r"'gone' is not known\. Choose some of naive; twin"):
        choose(runs, 'naive; gone')


def test_extractor_of_the_setup_stands_for_the_one_of_the_grid(setup_file, tmp_path) -> None:
    (tmp_path / 'own.py').touch()
    setup = yaml.safe_load(setup_file.read_text())
    setup['extractors'] = {'resnet101': {'extractor': 'own.py:build', 'pixel_mean': [0.5] * 3}}
    setup_file.write_text(yaml.safe_dump(setup))
    runs = plan(read_grid('table1'), read_setup(setup_file), tmp_path)
    extractors = {run.cell: run.train.detector.extractor for run in runs}
    assert extractors['naive resnet101'] == f'{tmp_path}/own.py:build'
    assert extractors['naive mobilenet_v2'] == 'mobilenet_v2'


def test_own_extractor_of_the_setup_is_scored(config: ExperimentConfig, tmp_path) -> None:
    (tmp_path / 'own.py').write_text(tiny.OWN_EXTRACTOR)
    setup, grid = Path(config.setup), Path(config.grid)
    own = {'extractor': 'own.py:make', 'neck': 'c4'}
    setup.write_text(
        yaml.safe_dump({**yaml.safe_load(setup.read_text()), 'extractors': {'own': own}})
    )
    train = {'detector': {'extractor': 'own'}}
    grid.write_text(yaml.safe_dump({'title': 'Own', 'cells': [{'name': 'own', 'train': train}]}))
    assert experiment(config) == 0
    (tmp_path / 'own.py').write_text(f'{tiny.OWN_EXTRACTOR}# changed since\n')
    assert experiment(config) == 0  # another run
    assert len(list(Path(config.out).glob('runs/*/scores/*.json'))) == 2


def test_merge_joins_groups_and_the_later_wins() -> None:
    below, above = {'a': {'b': 1, 'c': 2}, 'd': 3}, {'a': {'b': 4}, 'd': 5}
    assert merge(below, above) == {'a': {'b': 4, 'c': 2}, 'd': 5}
    assert below == {'a': {'b': 1, 'c': 2}, 'd': 3}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('cells: []', 'at least one'),
        ('cells: [{name: a}, {name: a}]', 'name of its own'),
        ('cells: [{name: a, trian: {}}]', "unknown key 'trian'"),
        ('cells: [{name: a, data: reel}]', 'synthetic, real'),
    ],
)
def test_bad_grid_says_what_is_wanted(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / 'bad.yaml').write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_grid(str(tmp_path / 'bad.yaml'))


def test_bad_setup_says_what_is_wanted(tmp_path: Path, setup_file: Path, grid_file: Path) -> None:
    (tmp_path / 'bad.yaml').write_text('cameras: [{name: a}]')
    with pytest.raises(ConfigError, match='real: wanted a list'):
        read_setup(tmp_path / 'bad.yaml')
    with pytest.raises(ConfigError, match='table2'):
        read_grid('table99')
    with pytest.raises(ConfigError, match=r'train\.<option>'):
        read_grid(str(grid_file), ('step=3',))
    for setting in ('train=5', 'synthesize=[1]'):
        with pytest.raises(ConfigError, match=r'--set: .*wanted a mapping of options'):
            read_grid(str(grid_file), (setting,))
    content = yaml.safe_load(setup_file.read_text())
    for change in ({'train': 5}, {'extractors': [1]}, {'extractors': {'resnet18': 'file'}}):
        (tmp_path / 'bad.yaml').write_text(yaml.safe_dump({**content, **change}))
        with pytest.raises(ConfigError, match='wanted a mapping of options'):
            read_setup(tmp_path / 'bad.yaml')
    content['cameras'][0]['real'][0]['name'] = 'synthetic'
    (tmp_path / 'bad.yaml').write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match='held-out renderings'):
        read_setup(tmp_path / 'bad.yaml')
    with pytest.raises(ConfigError, match="naive, cam: unknown key 'stepps'"):
        plan(read_grid(str(grid_file), ('train.stepps=3',)), read_setup(setup_file), tmp_path)
