import threading
import time

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


def test_worker_outlives_work_that_raises(caplog):
    done = []

    def work(item):
        if item == 0:
            raise ValueError('item 0')
        done.append(item)

    worker = LatestOnlyWorker(work, 'test')
    worker.offer(0)
    end = time.monotonic() + 10
    while not caplog.records and time.monotonic() < end:
        time.sleep(0.01)
    worker.offer(1)
    while not done and time.monotonic() < end:
        time.sleep(0.01)
    worker.stop()
    assert done == [1]
    assert 'test failed; it goes on' in caplog.text and 'item 0' in caplog.text
