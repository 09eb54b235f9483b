"""docs/formats.md names every field that is written."""

import csv
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import yaml
from tiny import train_config, write_bundle, write_dataset

from synth_detect_ros.dataset.backgrounds import BackgroundWriter, FrameRecord
from synth_detect_ros.dataset.synthesize import synthesize
from synth_detect_ros.training.train import train

TEXT = (Path(__file__).parents[1] / 'docs/formats.md').read_text()


def section(title: str) -> str:
    """Return what stands below a heading."""
    text = TEXT.partition(f'\n## {title}\n')[2].partition('\n## ')[0]
    assert text
    return text


def unnamed(fields: Iterable[str], title: str) -> set[str]:
    """Return the fields that a section does not give as code."""
    return set(fields) - set(re.findall(r'`(\w+)', section(title)))


def unlisted(folder: Path, title: str) -> set[str]:
    """Return the files and folders that a section's list of files does not have."""
    listed = re.findall(r'^    (\S+)', section(title), re.M)
    return {path.name for path in folder.iterdir()} - {name.split('/')[0] for name in listed}


def keys_of(path: Path) -> Mapping[str, Any]:
    """Return the mapping of a YAML or JSON file."""
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(scenes.config(tmp_path_factory.mktemp('formats'), count=2, workers=1))


def test_background_set(tmp_path: Path) -> None:
    writer = BackgroundWriter(tmp_path, 'png')
    writer.save_camera(scenes.camera())
    writer.add(np.zeros((4, 4, 3), np.uint8), FrameRecord(1.5, 'image', 'bgr8', 3.0))
    assert unlisted(tmp_path, 'Background set') == set()
    assert unnamed(keys_of(tmp_path / 'camera.yaml'), 'Background set') == set()
    record = json.loads((tmp_path / 'frames.jsonl').read_text())
    assert unnamed(record, 'Background set') == set()


def test_data_set(dataset: Path) -> None:
    assert unlisted(dataset, 'Data set') == set()
    info = keys_of(dataset / 'dataset.yaml')
    parts = [info, info['inputs'], info['inputs']['models'][0], info['timing']]
    coco = json.loads((dataset / 'annotations.json').read_text())
    rows = [coco['annotations'][0], coco['annotations'][0]['segmentation']]
    for fields in (*parts, coco, coco['images'][0], coco['categories'][0], *rows):
        assert unnamed(fields, 'Data set') == set()


def test_bundle(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / 'bundle')
    assert unlisted(folder, 'Bundle') == set()
    info = keys_of(folder / 'model.yaml')
    assert unnamed([*info, *info['preprocessing']], 'Bundle') == set()


def test_run_folder(tmp_path: Path) -> None:
    bundle = train(train_config(write_dataset(tmp_path / 'set'), tmp_path / 'run', steps=1))
    assert unlisted(tmp_path / 'run', 'Run folder') == set()
    info = keys_of(bundle / 'model.yaml')
    groups = [info[key] for key in ('freeze', 'dataset', 'training')]
    metrics = [info['metrics'], info['metrics']['bbox']]
    for fields in (info, *groups, *metrics):
        assert unnamed(fields, 'Bundle') == set()
    for file in ('log.csv', 'validation.csv'):
        with (tmp_path / 'run' / file).open() as rows:
            columns = set(next(csv.reader(rows)))
        assert {c for c in columns if not c.startswith('loss_')} <= set(
            re.findall(r'\w+', section('Run folder'))
        )


def test_version_numbers(dataset: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / 'bundle')
    for title, file in (('Data set', dataset / 'dataset.yaml'), ('Bundle', bundle / 'model.yaml')):
        number = keys_of(file)['format']
        assert f'| [{title}](#{title.lower().replace(" ", "-")}) | `format: {number}`' in TEXT
