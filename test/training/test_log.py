"""The log of a run: every loss of every architecture, one row a step, also when resumed."""

import csv
import os

import pytest

from synth_detect_ros.errors import StorageError
from synth_detect_ros.training.log import RunLog


def rows(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_a_row_holds_every_loss(tmp_path):
    losses = {'classification': 1.0, 'bbox_regression': 2.0, 'loss': 3.0}
    with RunLog(tmp_path, 0, validated=True) as log:
        log.step(20, 1.234, losses, 0.1)
        log.step(40, 2.5, losses, 0.2)
    first, second = rows(tmp_path / 'log.csv')
    assert list(first)[:4] == ['step', 'elapsed_s', 'lr', 'loss']
    assert {name: float(first[name]) for name in losses} == losses
    assert (second['step'], second['lr']) == ('40', '0.2')


def test_a_resumed_run_keeps_the_columns_and_drops_later_rows(tmp_path):
    (tmp_path / 'log.csv').write_text('step,elapsed_s,loss_mask,loss\n20,1,,3\n40,2,,2\n')
    with RunLog(tmp_path, 20, validated=True) as log:
        log.step(30, 1.5, {'loss': 4.0, 'other': 5.0}, 0.1)
    assert [row['step'] for row in rows(tmp_path / 'log.csv')] == ['20', '30']
    assert rows(tmp_path / 'log.csv')[1] == {
        'step': '30', 'elapsed_s': '1.5', 'loss_mask': '', 'loss': '4.0',
    }  # fmt: skip


def test_a_log_that_a_killed_run_left_empty_gets_its_columns(tmp_path):
    (tmp_path / 'log.csv').touch()
    with RunLog(tmp_path, 0, validated=True) as log:
        log.step(1, 0.5, {'loss': 4.0}, 0.1)
    assert [row['step'] for row in rows(tmp_path / 'log.csv')] == ['1']


def test_a_validation_without_numbers_writes_nothing(tmp_path):
    with RunLog(tmp_path, 0, validated=True) as log:
        log.validation(5, {'bbox': {'AP': None}})
        log.validation(6, {'bbox': {'AP': 0.5, 'AP50': 0.75, 'per_class': {}}})
    (row,) = rows(tmp_path / 'validation.csv')
    assert (row['step'], row['kind'], row['AP'], row['AP50']) == ('6', 'bbox', '0.5', '0.75')


def test_a_validation_that_a_killed_run_makes_again_has_one_row(tmp_path):
    with RunLog(tmp_path, 0, validated=True) as log:
        log.validation(2, {'bbox': {'AP': 0.25}})
        log.validation(4, {'bbox': {'AP': 0.5}})  # killed before its checkpoint
    with RunLog(tmp_path, 4, validated=False) as log:
        log.validation(4, {'bbox': {'AP': 0.5}})
    assert [row['step'] for row in rows(tmp_path / 'validation.csv')] == ['2', '4']


def test_a_damaged_row_of_the_log_does_not_end_the_run(tmp_path):
    (tmp_path / 'log.csv').write_bytes(b'step,loss\n1,3\n\xff2\x82,3\n2,\xe9\n')
    with RunLog(tmp_path, 2, validated=True) as log:
        log.step(3, 0.5, {'loss': 4.0}, 0.1)
    assert [row['step'] for row in rows(tmp_path / 'log.csv')] == ['1', '2', '3']


def test_what_is_no_file_is_no_log(tmp_path):
    os.mkfifo(tmp_path / 'log.csv')
    with pytest.raises(StorageError, match=r'log\.csv: wanted a file of the log'):
        RunLog(tmp_path, 0, validated=True)


def test_events_that_cannot_be_written_are_told_by_name(tmp_path):
    (tmp_path / 'tensorboard').touch()
    with pytest.raises(StorageError, match='tensorboard cannot be written'):
        RunLog(tmp_path, 0, validated=True)
