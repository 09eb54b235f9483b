"""Training: exact resume, nothing lost on Ctrl-C or a broken loss, contradictions refused."""

import csv
import errno
import itertools
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import OWN_EXTRACTOR, train_config, write_dataset, write_weights

from synth_detect_ros.bundle import load_bundle, read_bundle_info
from synth_detect_ros.errors import ConfigError, DatasetError, StorageError, TrainingError
from synth_detect_ros.training import batches
from synth_detect_ros.training import train as train_module
from synth_detect_ros.training.batches import affordable_workers
from synth_detect_ros.training.checkpoint import read_progress
from synth_detect_ros.training.train import train
from synth_detect_ros.training.validation import Validation


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp('data') / 'set')


def weights_of(out):
    return load_file(out / 'bundle' / 'weights.safetensors')


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


class Interrupt:
    """Stops a run with Ctrl-C after some steps."""

    def __init__(self, step):
        self.step = step

    def __call__(self, progress):
        if progress.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.usefixtures('one_thread')
def test_interrupted_and_resumed_run_equals_uninterrupted_run(dataset, tmp_path):
    whole, parts = (train_config(dataset, tmp_path / name, steps=6) for name in ('a', 'b'))
    train(whole)
    with pytest.raises(KeyboardInterrupt):
        train(parts, Interrupt(3))
    train(parts)
    a, b = weights_of(tmp_path / 'a'), weights_of(tmp_path / 'b')
    assert all(torch.equal(a[key], b[key]) for key in a)
    rows = [read_csv(tmp_path / name / 'log.csv') for name in 'ab']
    assert [r['loss'] for r in rows[0]] == [r['loss'] for r in rows[1]]


def signals_in_step(monkeypatch, step, *signals):
    """Send signals to this process within `optimizer.step()`, when the weights have changed."""
    original, calls = torch.optim.SGD.step, itertools.count(1)

    def take_step(*args):
        original(*args)
        if next(calls) == step:
            for number in signals:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(torch.optim.SGD, 'step', take_step)


@pytest.mark.usefixtures('one_thread')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_waits_for_the_end_of_a_step(dataset, tmp_path, monkeypatch, number):
    whole, parts = (train_config(dataset, tmp_path / name, steps=5) for name in ('a', 'b'))
    train(whole)
    before = signal.signal(number, signal.default_int_handler)  # as `experiment` does for SIGTERM
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            signals_in_step(patch, 2, number)
            train(parts)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert read_progress(tmp_path / 'b').step == 2
    train(parts)
    a, b = weights_of(tmp_path / 'a'), weights_of(tmp_path / 'b')
    assert all(torch.equal(a[key], b[key]) for key in a)
    rows = [read_csv(tmp_path / name / 'log.csv') for name in 'ab']
    assert [r['loss'] for r in rows[0]] == [r['loss'] for r in rows[1]]


@pytest.mark.usefixtures('one_thread')
def test_second_ctrl_c_leaves_the_last_checkpoint(dataset, tmp_path, monkeypatch, caplog):
    config = train_config(dataset, tmp_path / 'run', steps=3, checkpoint_every=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        signals_in_step(patch, 2, signal.SIGINT, signal.SIGINT)
        train(config)
    assert 'another Ctrl-C ends at once' in caplog.text
    assert read_progress(tmp_path / 'run').step == 1
    assert not (tmp_path / 'run' / 'bundle').exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures('one_thread')
def test_interrupted_validation_is_done_again(dataset, tmp_path, monkeypatch):
    config = train_config(dataset, tmp_path / 'run', steps=4, val_every=2)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Validation, 'score', interrupt)
        train(config)
    assert read_progress(tmp_path / 'run').step == 2
    scores = iter([0.5, 0.2])
    group = ('AP', 'AP50', 'AP75', 'AR100')
    monkeypatch.setattr(
        Validation, 'score', lambda *_: {'bbox': dict.fromkeys(group, next(scores))}
    )
    train(config)
    assert [r['step'] for r in read_csv(tmp_path / 'run' / 'validation.csv')] == ['2', '4']
    assert read_bundle_info(tmp_path / 'run' / 'bundle')['training']['steps'] == 2
    train(config)  # done: nothing is scored again


def test_training_works_outside_the_main_thread(dataset, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(train, train_config(dataset, tmp_path / 'run', steps=1)).result()


def test_interrupt_leaves_a_usable_bundle(dataset, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(train_config(dataset, tmp_path / 'run'), Interrupt(1))
    detector, info = load_bundle(tmp_path / 'run' / 'bundle')
    assert info['training']['steps'] == 1
    assert not detector.training


def test_loader_processes_do_not_change_the_result(dataset, tmp_path):
    for workers in (0, 2):
        train(train_config(dataset, tmp_path / str(workers), steps=2, workers=workers))
    a, b = weights_of(tmp_path / '0'), weights_of(tmp_path / '2')
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_frozen_extractor_in_bundle_is_the_weight_file(dataset, tmp_path):
    file = write_weights(tmp_path / 'w.safetensors')
    config = train_config(
        dataset, tmp_path / 'run', freeze='first_stage', steps=2, detector={'weights': str(file)}
    )
    train(config)
    trained, source = weights_of(tmp_path / 'run'), load_file(file)
    key = 'conv.0.0.weight'
    assert torch.equal(
        trained[f'neck.first_stage.module.blocks.3.{key}'], source[f'features.3.{key}']
    )
    info = read_bundle_info(tmp_path / 'run' / 'bundle')
    assert info['freeze']['frozen']['first_stage'] > 2_000_000


def test_run_until_a_step_thaws_and_resumes_thawed(dataset, tmp_path):
    file = write_weights(tmp_path / 'w.safetensors')
    detector = {'weights': str(file)}
    options = dict(freeze='until:2', steps=4, detector=detector)
    train(train_config(dataset, tmp_path / 'a', **options))
    with pytest.raises(KeyboardInterrupt):
        train(train_config(dataset, tmp_path / 'b', **options), Interrupt(3))
    train(train_config(dataset, tmp_path / 'b', **options))
    a, b = weights_of(tmp_path / 'a'), weights_of(tmp_path / 'b')
    assert all(torch.equal(a[key], b[key]) for key in a)
    key = 'conv.0.0.weight'
    stored = load_file(file)[f'features.3.{key}']
    assert not torch.equal(a[f'neck.first_stage.module.blocks.3.{key}'], stored)


def test_losses_fall_when_one_image_is_learnt(dataset, tmp_path):
    losses = []
    config = train_config(
        dataset,
        tmp_path / 'run',
        steps=25,
        optimizer={'lr': 0.02, 'warmup_steps': 5},
        augment={'flip': False},
    )
    train(config, lambda p: losses.append(p.losses['loss']))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_best_weights_are_kept_by_validation(dataset, tmp_path, monkeypatch):
    scores = iter([0.5, 0.2, 0.1])
    monkeypatch.setattr(
        Validation,
        'score',
        lambda *_: {'bbox': dict.fromkeys(('AP', 'AP50', 'AP75', 'AR100'), next(scores))},
    )
    train(train_config(dataset, tmp_path / 'run', steps=5, val_every=2))
    info = read_bundle_info(tmp_path / 'run' / 'bundle')
    assert info['metrics']['bbox']['AP'] == 0.5
    assert info['training']['steps'] == 2
    rows = read_csv(tmp_path / 'run' / 'validation.csv')
    assert [float(r['AP']) for r in rows] == [0.5, 0.2, 0.1]


def test_validation_takes_real_images_when_given(dataset, tmp_path):
    config = train_config(
        dataset,
        tmp_path / 'run',
        steps=1,
        val_images=str(dataset / 'images'),
        val_annotations=str(dataset / 'annotations.json'),
    )
    train(config)
    assert read_bundle_info(tmp_path / 'run' / 'bundle')['metrics']['validated_on'] == 'real'


def test_run_without_held_out_images_says_so(dataset, tmp_path, caplog):
    with caplog.at_level('INFO', 'synth_detect_ros.training.train'):
        train(train_config(dataset, tmp_path / 'run', steps=1, val_share=0.0))
    assert 'step 1: no images to validate on' in caplog.text
    assert read_bundle_info(tmp_path / 'run' / 'bundle')['metrics']['validated_on'] == 'no'


def test_masks_are_trained_and_validated(dataset, tmp_path):
    config = train_config(dataset, tmp_path / 'run', detector={'architecture': 'mask_rcnn'})
    train(config)
    detector, info = load_bundle(tmp_path / 'run' / 'bundle')
    assert detector.has_masks
    assert info['preprocessing']['min_side'] == 96


def test_non_finite_loss_is_named_and_leaves_the_checkpoint(dataset, tmp_path):
    config = train_config(dataset, tmp_path / 'run', checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, Interrupt(1))
    path = tmp_path / 'run' / 'checkpoint.pt'
    state = torch.load(path, weights_only=True)
    state['model']['roi_heads.box_predictor.cls_score.bias'].fill_(float('nan'))
    torch.save(state, path)
    before = path.read_bytes()
    with pytest.raises(TrainingError, match='step 1: loss_classifier, loss not finite'):
        train(config)
    assert path.read_bytes() == before


def test_time_limit_ends_the_run_with_a_finished_schedule(dataset, tmp_path, monkeypatch):
    clock, rates = itertools.count(), []
    monkeypatch.setattr(train_module.time, 'monotonic', lambda: float(next(clock)))
    config = train_config(
        dataset, tmp_path / 'run', steps=10**6, time_limit_s=12.0, optimizer={'warmup_steps': 0}
    )
    train(config, lambda p: rates.append(p.lr))
    assert len(rates) == 12
    assert rates[-1] < 0.1 * rates[0]


def test_other_configuration_in_the_same_folder_is_refused(dataset, tmp_path):
    train(train_config(dataset, tmp_path / 'run', steps=1))
    with pytest.raises(ConfigError, match=r'configuration: seed is 0 there, 5 here\. Give'):
        train(train_config(dataset, tmp_path / 'run', steps=1, seed=5))


def test_run_of_version_0_1_goes_on(dataset, tmp_path):
    config = train_config(dataset, tmp_path / 'run', steps=1)
    train(config)
    path = tmp_path / 'run' / 'train.yaml'
    stored = yaml.safe_load(path.read_text())
    stored['detector'] = {
        'architecture': 'faster_rcnn', 'backbone': 'mobilenet_v2', 'weights': 'none',
        'fpn_channels': 16, 'box_head_convs': 1, 'box_head_channels': 32, 'anchor_scale': 3.0,
        'min_side': config.detector.min_side, 'proposals': 50, 'loss': {'mask': 1.0},
        'ssd': {'maps': 6},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(stored))
    train(config)
    path.write_text(yaml.safe_dump({**stored, 'detector': None}))
    with pytest.raises(ConfigError, match='detector: wanted a group of options'):
        train(config)
    path.write_text(yaml.safe_dump({**stored, 'detector': {'proposals': 9}}))
    with pytest.raises(ConfigError, match=r'detector\.rpn\.proposals is 9 there, 50 here'):
        train(config)


def test_run_with_another_time_limit_is_another_run(dataset, tmp_path):
    train(train_config(dataset, tmp_path / 'run', steps=1, time_limit_s=600))
    longer = train_config(dataset, tmp_path / 'run', steps=1, time_limit_s=1200)
    with pytest.raises(
        ConfigError, match=r'600\.0 there, 1200\.0 here\. The learning rate follows steps and time'
    ):
        train(longer)


@pytest.mark.parametrize(
    'change',
    [
        lambda state: state['progress'].update(later=1),
        lambda state: state['model'].popitem(),
        lambda state: state.pop('optimizer'),
    ],
)
def test_checkpoint_of_another_version_is_refused(dataset, tmp_path, monkeypatch, change):
    config, path = train_config(dataset, tmp_path, steps=1), tmp_path / 'checkpoint.pt'
    train(config)
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    (tmp_path / 'train.yaml').write_text('detector: {backbone: mobilenet_v2}  # of that version\n')
    monkeypatch.setattr(train_module, 'refuse_other_run', lambda _: None)
    with pytest.raises(TrainingError, match=r'checkpoint\.pt: broken, or of another version of'):
        train(config)
    assert 'of that version' in (tmp_path / 'train.yaml').read_text()


def test_run_goes_on_with_the_code_that_it_began_with(dataset, tmp_path):
    file = tmp_path / 'net.py'
    file.write_text(OWN_EXTRACTOR)
    detector = {'extractor': f'{file}:make', 'neck': 'c4'}
    config = train_config(dataset, tmp_path / 'run', checkpoint_every=1, detector=detector)
    with pytest.raises(KeyboardInterrupt):
        train(config, Interrupt(1))
    file.write_text(f'{OWN_EXTRACTOR}\n')
    with pytest.raises(
        ConfigError, match=r'net\.py is not the code that the run in .* began with'
    ):
        train(config)
    file.write_text(OWN_EXTRACTOR)
    assert (train(config) / 'extractor.py').read_text() == OWN_EXTRACTOR


def test_loader_that_the_system_ended_is_told(dataset, tmp_path, monkeypatch):
    def end_loaders(_):
        for child in multiprocessing.active_children():
            child.kill()

    monkeypatch.setattr(batches, 'PATIENCE_S', 1)  # it may be ended amid a message
    config = train_config(dataset, tmp_path / 'run', workers=1, checkpoint_every=1)
    with pytest.raises(TrainingError, match=r'loader process was ended .*fewer workers'):
        train(config.replace(steps=10**6), end_loaders)
    assert read_progress(tmp_path / 'run').step >= 1


def test_broken_checkpoint_is_refused(tmp_path):
    path = tmp_path / 'checkpoint.pt'
    path.write_bytes(b'PK')
    with pytest.raises(TrainingError, match='remove it to begin the run anew'):
        read_progress(tmp_path)


def test_missing_dataset_and_options_are_named(tmp_path):
    with pytest.raises(ConfigError, match='train needs dataset or synthesize: give it'):
        train(train_config('', tmp_path / 'run'))
    with pytest.raises(DatasetError, match='No such file'):
        train(train_config(tmp_path, tmp_path / 'run'))


def test_full_disk_keeps_the_last_checkpoint(dataset, tmp_path, monkeypatch):
    train(train_config(dataset, tmp_path / 'run', steps=1))
    before = (tmp_path / 'run' / 'checkpoint.pt').read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(StorageError, match='No space left'):
        train(train_config(dataset, tmp_path / 'run', steps=1))
    assert (tmp_path / 'run' / 'checkpoint.pt').read_bytes() == before


def test_small_shared_memory_reduces_loader_processes(dataset, tmp_path, monkeypatch, caplog):
    config = train_config(dataset, tmp_path / 'run', workers=4)
    free = type('Usage', (), {'free': 1000})
    monkeypatch.setattr(batches.shutil, 'disk_usage', lambda _: free)
    assert affordable_workers(config, 96 * 128 * 3) == 0
    assert '--shm-size' in caplog.text


def test_stored_configuration_reads_back(dataset, tmp_path):
    config = train_config(dataset, tmp_path / 'run', steps=1)
    train(config)
    stored = yaml.safe_load((tmp_path / 'run' / 'train.yaml').read_text())
    assert stored['detector']['channels'] == config.detector.channels


def test_run_begun_before_there_was_an_option_goes_on(dataset, tmp_path):
    config = train_config(dataset, tmp_path / 'run', steps=2)
    train(config)
    path = tmp_path / 'run' / 'train.yaml'
    stored = yaml.safe_load(path.read_text())
    del stored['optimizer']['extractor_lr'], stored['detector']['box_head']['beta']
    path.write_text(yaml.safe_dump(stored))
    train(config)
    path.write_text(yaml.safe_dump({**stored, 'optimizer': {'extractor_lr': 0.5}}))
    with pytest.raises(ConfigError, match=r'optimizer\.extractor_lr is 0\.5 there, 1\.0 here'):
        train(config)


def test_bfloat16_where_there_is_some_trains_too(dataset, tmp_path):
    losses = []
    train(train_config(dataset, tmp_path / 'run', amp=True), lambda p: losses.append(p.losses))
    assert len(losses) == 4 and all(np.isfinite(list(step.values())).all() for step in losses)
