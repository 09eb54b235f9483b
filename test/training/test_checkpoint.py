"""Checkpoints: sealed against flipped bits; a run goes on whatever a kill left of train.yaml."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import train_config, write_dataset

from synth_detect_ros.errors import ConfigError, TrainingError
from synth_detect_ros.training.checkpoint import read_progress, refuse_other_run
from synth_detect_ros.training.seal import check_seal, seal
from synth_detect_ros.training.train import train


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / 'a.pt'
    with path.open('w+b') as file:
        torch.save({'weights': torch.arange(100.0), 'step': 3}, file)
        seal(file)
    return path


def test_sealed_file_is_an_archive_as_before(sealed):
    check_seal(sealed)
    assert torch.load(sealed, weights_only=True)['step'] == 3
    with zipfile.ZipFile(sealed) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b'sha256:')


def test_file_of_an_earlier_version_has_no_seal(tmp_path):
    torch.save({'step': 3}, tmp_path / 'a.pt')
    check_seal(tmp_path / 'a.pt')


def test_flipped_bit_is_found_wherever_it_is(sealed):
    whole, rng = sealed.read_bytes(), np.random.default_rng(0)
    for place in (*range(0, len(whole), 97), *range(len(whole) - 90, len(whole))):
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        sealed.write_bytes(data)
        with pytest.raises(TrainingError, match='cut off or damaged'):
            check_seal(sealed)


def test_cut_or_lengthened_file_is_found(sealed):
    whole = sealed.read_bytes()
    for data in (*(whole[:n] for n in range(0, len(whole), 61)), whole[:-1], whole + b'\0'):
        sealed.write_bytes(data)
        with pytest.raises(TrainingError, match='cut off or damaged'):
            check_seal(sealed)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Return the configuration of a run of one step."""
    folder = tmp_path_factory.mktemp('run')
    config = train_config(write_dataset(folder / 'set'), folder / 'out', steps=1, seed=4)
    train(config)
    return config


def test_run_goes_on_whatever_a_kill_left_of_its_configuration(run, tmp_path):
    path = tmp_path / 'train.yaml'
    checkpoint = tmp_path / 'checkpoint.pt'
    whole = (Path(run.out) / 'train.yaml').read_bytes()
    checkpoint.write_bytes((Path(run.out) / 'checkpoint.pt').read_bytes())
    here = run.replace(out=str(tmp_path))
    lines = [place + 1 for place, byte in enumerate(whole) if byte == ord('\n')]
    for length in (*range(0, len(whole), 411), *lines):
        path.write_bytes(whole[:length])
        refuse_other_run(here)
        with pytest.raises(ConfigError, match=r'another configuration: seed is 4 there, 5 here'):
            refuse_other_run(here.replace(seed=5))
    path.unlink()
    with pytest.raises(ConfigError, match='seed is 4 there'):
        refuse_other_run(here.replace(seed=5))


def test_folder_of_a_run_that_was_killed_at_its_start_is_free(run, tmp_path):
    whole = (Path(run.out) / 'train.yaml').read_bytes()
    here = run.replace(out=str(tmp_path), seed=5)
    lines = [place + 1 for place, byte in enumerate(whole) if byte == ord('\n')]
    for length in (*range(0, len(whole) - 1, 411), *lines[:-1]):
        (tmp_path / 'train.yaml').write_bytes(whole[:length])
        refuse_other_run(here)


def test_damaged_checkpoint_says_what_to_do(run, tmp_path):
    data = bytearray((Path(run.out) / 'checkpoint.pt').read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / 'checkpoint.pt').write_bytes(data)
    with pytest.raises(TrainingError, match=r'checkpoint\.pt: broken.*remove it to begin'):
        read_progress(tmp_path)
