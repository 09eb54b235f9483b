"""Batches: prepared ahead, in order."""

import threading
from contextlib import closing
from itertools import count, islice

import pytest
import torch

from synth_detect_ros.training.batches import prefetch, to_device


def test_results_come_in_order_and_are_made_in_another_thread():
    threads = set()

    def prepare(item):
        threads.add(threading.current_thread())
        return item + 1

    with closing(prefetch(count(), prepare)) as results:
        assert list(islice(results, 20)) == list(range(1, 21))
    assert threading.current_thread() not in threads


def test_error_arrives_in_its_turn():
    results = prefetch(iter([1, 2, 0, 4]), lambda item: 1 / item)
    assert next(results) == 1
    assert next(results) == 0.5
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_leaving_early_ends_the_thread():
    before = set(threading.enumerate())
    results = prefetch(iter(int, 1), lambda item: item)
    next(results)
    assert set(threading.enumerate()) > before
    results.close()
    assert set(threading.enumerate()) <= before


def test_tensors_keep_name_and_value_on_their_way():
    tensors = {'boxes': torch.arange(4.0)}
    assert to_device(tensors, torch.device('cpu'))['boxes'].tolist() == [0, 1, 2, 3]
