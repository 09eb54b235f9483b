"""Where relative paths of a configuration point to."""

from pathlib import Path

import pytest

from synth_detect_ros import config as configs
from synth_detect_ros.config import EvaluateConfig, SynthesizeConfig, TrainConfig
from synth_detect_ros.config.options import Options, read_config, to_yaml
from synth_detect_ros.config.rules import rules_of
from synth_detect_ros.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / 'train.yaml'
    path.write_text(text)
    return path


def test_paths_in_a_file_are_relative_to_that_file(tmp_path):
    path = write(tmp_path, 'objects: cad/objects.yaml\nout: ../set\n')
    config = read_config(SynthesizeConfig, path)
    assert config.objects == str(tmp_path / 'cad/objects.yaml')
    assert Path(config.out).resolve() == tmp_path.parent / 'set'


def test_paths_of_overrides_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    (tmp_path / 'here/w.safetensors').touch()
    monkeypatch.chdir(tmp_path / 'here')
    path = write(tmp_path, 'dataset: set\n')
    config = read_config(TrainConfig, path, ['dataset=other', 'detector.weights=w.safetensors'])
    assert config.dataset == str(tmp_path / 'here/other')
    assert config.detector.weights == str(tmp_path / 'here/w.safetensors')


def test_a_stored_configuration_means_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 'dataset: set\nout: run\n')
    config = read_config(TrainConfig, Path('train.yaml'))
    stored = tmp_path / 'run/stored.yaml'
    stored.parent.mkdir()
    stored.write_text(to_yaml(config))
    monkeypatch.chdir(tmp_path / 'run')
    assert read_config(TrainConfig, stored) == config


def test_absolute_and_empty_paths_stay_as_they_are(tmp_path):
    config = read_config(EvaluateConfig, write(tmp_path, 'model: /m\njson: ""\n'))
    assert (config.model, config.json) == ('/m', '')


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', '/home/nobody')
    assert read_config(EvaluateConfig, write(tmp_path, 'model: ~/m\n')).model == '/home/nobody/m'
    strange = read_config(EvaluateConfig, write(tmp_path, 'model: ~nobody_at_all/m\n')).model
    assert strange == str(tmp_path / '~nobody_at_all/m')


def test_a_word_is_no_path_unless_such_a_file_lies_beside_the_configuration(tmp_path):
    path = write(tmp_path, 'detector: {weights: none, extractor: net.py:build}\n')
    words = read_config(TrainConfig, path).detector
    assert (words.weights, words.extractor) == ('none', 'net.py:build')
    (tmp_path / 'net.py').touch()
    (tmp_path / 'none').touch()
    files = read_config(TrainConfig, path).detector
    assert files.extractor == f'{tmp_path}/net.py:build'
    assert files.weights == f'{tmp_path}/none'


def test_a_number_the_way_people_write_it_is_no_text(tmp_path):
    path = write(tmp_path, 'optimizer: {lr: 1e-4}\n')
    assert read_config(TrainConfig, path, ['optimizer.momentum=5e-1']).optimizer.lr == 1e-4


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('steps', 'wanted group.key=value'),
        ('steps.x=1', 'steps is not a group'),
        ('steps=[', 'cannot be read as YAML'),
        ('optimizer={1: 2}', "the key '1' is not text"),
        ('detector.bacbone=resnet18', "unknown key 'bacbone'"),
    ],
)
def test_an_override_that_cannot_be_used_is_named(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        read_config(TrainConfig, write(tmp_path, 'steps: 3\n'), [override])


@pytest.mark.parametrize(
    'cls', [c for c in vars(configs).values() if isinstance(c, type) and issubclass(c, Options)]
)
def test_options_that_speak_of_files_are_declared_as_paths(cls):
    for name, rule in rules_of(cls).items():
        words = set(rule.help.replace(':', ' ').split())
        if rule.hint is str and words & {'file', 'folder', 'folder,'}:
            assert rule.path, name
