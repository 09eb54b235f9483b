"""The configuration files that come with the package say what the code does."""

from pathlib import Path

import pytest
import yaml

from synth_detect_ros.config import TrainConfig
from synth_detect_ros.options import read_config, read_mapping, to_yaml

CONFIG = Path(__file__).parents[1] / 'config'
PRESETS = sorted((CONFIG / 'presets').glob('*.yaml'))


def test_train_yaml_lists_every_option_with_its_default_and_comment():
    text = (CONFIG / 'train.yaml').read_text()
    body = ''.join(line for line in text.splitlines(keepends=True) if line[:1] != '#')
    wanted = [line for line in to_yaml(TrainConfig()).splitlines() if line[:1] != '#']
    assert body.splitlines() == wanted, (
        'make it anew: keep the first lines, then synth-detect train --print-config'
    )
    assert read_config(TrainConfig, CONFIG / 'train.yaml') == TrainConfig()


def test_there_is_a_light_and_a_full_preset():
    assert {'light', 'full'} <= {path.stem for path in PRESETS}


@pytest.mark.parametrize('path', PRESETS, ids=lambda path: path.stem)
def test_presets_are_legal_and_keep_the_extractor_frozen(path):
    config = read_config(TrainConfig, path)
    assert config.freeze == 'first_stage'
    assert not config.dataset and not config.out


@pytest.mark.parametrize('path', PRESETS, ids=lambda path: path.stem)
def test_presets_say_what_they_are_for(path):
    assert path.read_text().startswith('# For `synth-detect train` on a ')


def test_the_light_preset_asks_for_less_than_the_full_one():
    light, full = (read_mapping(CONFIG / f'presets/{name}.yaml') for name in ('light', 'full'))
    for key in ('steps', 'batch', 'workers'):
        assert light[key] < full[key]
    assert set(light['detector']) <= set(full['detector'])


def test_a_preset_can_be_changed_from_the_command_line():
    config = read_config(TrainConfig, CONFIG / 'presets/light.yaml', ['detector.min_side=320'])
    preset = yaml.safe_load((CONFIG / 'presets/light.yaml').read_text())
    assert config.detector.min_side == 320
    assert config.detector.fpn_channels == preset['detector']['fpn_channels']
