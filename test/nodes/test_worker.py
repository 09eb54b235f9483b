import threading
import time

import pytest

from synth_detect_ros.nodes.timings import WINDOW, Timing, TimingWindow
from synth_detect_ros.nodes.worker import LatestOnlyWorker


class Gate:
    """Work that waits until it is let through."""

    def __init__(self):
        self.done, self.started = [], threading.Semaphore(0)
        self.open = threading.Semaphore(0)

    def __call__(self, item):
        self.started.release()
        assert self.open.acquire(timeout=10)
        self.done.append(item)


def test_only_the_latest_waiting_item_is_worked_on():
    gate = Gate()
    worker = LatestOnlyWorker(gate, 'test')
    assert worker.offer(0)
    assert gate.started.acquire(timeout=10)
    kept = [worker.offer(item) for item in (1, 2, 3)]
    assert kept == [True, False, False]
    gate.open.release(2)
    assert gate.started.acquire(timeout=10)
    worker.stop()
    assert gate.done == [0, 3]


def test_stopping_finishes_the_item_at_hand_and_forgets_the_next():
    gate = Gate()
    worker = LatestOnlyWorker(gate, 'test')
    worker.offer(0)
    assert gate.started.acquire(timeout=10)
    worker.offer(1)
    threading.Timer(0.1, gate.open.release, [2]).start()
    worker.stop()
    assert gate.done == [0]


def test_worker_without_work_stops_at_once():
    start = time.monotonic()
    LatestOnlyWorker(print, 'test').stop()
    assert time.monotonic() - start < 1


def test_empty_window_shows_only_counts():
    assert TimingWindow().summary(0.0) == {
        'input_hz': 0.0, 'received': 0, 'dropped': 0, 'broken': 0, 'processed': 0,
    }  # fmt: skip


def test_window_shows_means_over_the_latest_and_counts_of_all():
    window = TimingWindow()
    for _ in range(WINDOW):
        window.processed(Timing(inference=1e6, overhead=1e6, wait=1e6, age=1e6))
    for i in range(2 * WINDOW):
        window.arrived(i * 0.1)
        window.processed(Timing(inference=10, overhead=2, wait=1, age=i % 20))
    window.dropped()
    window.broken()
    summary = window.summary((2 * WINDOW - 1) * 0.1)
    assert summary['input_hz'] == pytest.approx(10)
    assert (summary['inference_ms'], summary['overhead_ms'], summary['wait_ms']) == (10, 2, 1)
    assert (summary['age_ms'], summary['age_ms_max']) == (9.5, 19)
    assert 18 <= summary['age_ms_p95'] <= 19
    counts = [summary[key] for key in ('received', 'dropped', 'broken', 'processed')]
    assert counts == [2 * WINDOW, 1, 1, 3 * WINDOW]


def test_window_shows_means_of_the_stages():
    window = TimingWindow()
    for network in (10.0, 30.0):
        stages = {'preprocess': 1.0, 'network': network}
        window.processed(Timing(inference=2, overhead=2, wait=1, age=5, stages=stages))
    summary = window.summary(0.0)
    assert (summary['preprocess_ms'], summary['network_ms']) == (1, 20)


def test_rate_falls_when_no_more_images_come():
    window = TimingWindow()
    window.arrived(0.0)
    window.arrived(1.0)
    assert window.summary(1.0)['input_hz'] == 1.0
    assert window.summary(100.0)['input_hz'] < 0.011
