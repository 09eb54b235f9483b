"""Schemas of the YAML files: those that are committed, and every shipped file against its own."""

import json
import re
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from synth_detect_ros.config import SynthesizeConfig, TrainConfig
from synth_detect_ros.config.options import to_yaml
from synth_detect_ros.modelling.box_file import Face
from synth_detect_ros.modelling.cuboid import FACES

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

import schemas  # noqa: E402

FIRST_LINE = re.compile(r'# yaml-language-server: \$schema=(\S+)')
# Formats of others, and of the demo and the benchmarks alone.
WITHOUT = {
    'bench/accuracy/cpu.yaml',
    'bench/accuracy/detectors.yaml',
    'bench/accuracy/gpu.yaml',
    'demo/cookie_box.yaml',
    'demo/two_objects.yaml',
    'demo/cookie_box/camera.yaml',
    'demo/cookie_box/video.yaml',
}
SHIPPED = [
    path
    for folder in ('config', 'models', 'demo', 'bench')
    for path in sorted((ROOT / folder).rglob('*.yaml'))
    if str(path.relative_to(ROOT)) not in WITHOUT
]


def schema_of(path: Path) -> Path:
    named = FIRST_LINE.match(path.read_text())
    assert named, f'{path}: the first line names no schema'
    return (path.parent / named[1]).resolve()


def test_committed_schemas_are_those_of_the_configurations():
    written = {path.stem: json.loads(path.read_text()) for path in schemas.FOLDER.glob('*.json')}
    made = dict(schemas.schemas())
    assert set(written) == set(made)
    for name, schema in made.items():
        if written[name]['$comment'] != schema['$comment']:
            pytest.skip('written with another version of pydantic')
        assert written[name] == schema, f'{name}: run python tools/schemas.py'


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_file_fits_the_schema_that_its_first_line_names(path):
    schema = schema_of(path)
    assert schema.parent == schemas.FOLDER and schema.is_file()
    jsonschema = pytest.importorskip('jsonschema')
    validator = jsonschema.Draft7Validator(json.loads(schema.read_text()))
    assert not [f'{e.json_path}: {e.message}' for e in validator.iter_errors(content_of(path))]


def content_of(path: Path):
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('train', {'step': 3}),
        ('train', {'steps': 0}),
        ('train', {'optimizer': {'milestones': [0.5, 2]}}),
        ('train', {'detector': {'neck': 'tree'}}),
        ('synthesize', {'scene': {'targets': [1]}}),
        ('grid', {'cells': [{'name': 'a', 'train': {'step': 3}}]}),
        ('objects', {'objects': [{'name': 'a'}]}),
        ('box', {'name': 'a'}),
        ('parameters', {'/**/detect_node': {'ros__parameters': {'devise': 'cpu'}}}),
    ],
)
def test_a_schema_refuses_what_the_package_refuses(name, content):
    jsonschema = pytest.importorskip('jsonschema')
    schema = json.loads((schemas.FOLDER / f'{name}.json').read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    assert not jsonschema.Draft7Validator(schema).is_valid(content)


def test_a_box_file_knows_each_face_of_a_box():
    assert get_args(Face) == tuple(FACES)


@pytest.mark.parametrize(
    ('name', 'cls'), [('train', TrainConfig), ('synthesize', SynthesizeConfig)]
)
def test_shipped_file_of_defaults_explains_every_option(name, cls):
    lines = (ROOT / f'config/{name}.yaml').read_text().splitlines()
    assert lines[4:] == to_yaml(cls()).splitlines(), 'see `synth-detect ... --print-config`'
