"""Presets: found by name, valid, and chosen by the device."""

import pytest

from synth_detect_ros.commands.flags import config_of
from synth_detect_ros.commands.main import build_parser
from synth_detect_ros.config import TrainConfig, presets
from synth_detect_ros.config.options import read_config
from synth_detect_ros.errors import ConfigError


@pytest.mark.parametrize('name', ['fast_cpu', 'fast_gpu', 'dense_cpu'])
def test_named_preset_is_the_file(name):
    args = build_parser().parse_args(['train', '--config', name, '--steps', '7'])
    config = config_of(args)
    assert config.steps == 7
    assert config.detector == read_config(TrainConfig, presets.preset_path(name)).detector


def test_preset_follows_the_device():
    assert presets.preset_for('cuda').stem == 'fast_gpu'
    assert presets.preset_for('cpu').stem == 'fast_cpu'


def test_unknown_preset_lists_those_there_are():
    with pytest.raises(ConfigError, match='Choose one of dense_cpu, fast_cpu, fast_gpu'):
        presets.preset_path('heavy')


def test_installed_package_finds_presets_below_its_prefix(tmp_path, monkeypatch):
    folder = tmp_path / 'presets'
    folder.mkdir()
    (folder / 'own.yaml').write_text('steps: 3')
    monkeypatch.setattr(presets, '_FOLDERS', (tmp_path,))
    assert presets.preset_path('own') == folder / 'own.yaml'
