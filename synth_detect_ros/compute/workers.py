"""Run a task over shards in worker processes; stop cleanly, and say so when a worker dies.

Processes are spawned, never forked: an OpenGL context does not survive a fork.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from typing import Any

from synth_detect_ros.compute.core_assignment import ONE_THREAD, Seat, keep_freed_memory, seats
from synth_detect_ros.compute.timing import Seconds
from synth_detect_ros.errors import RenderingError

logger = logging.getLogger(__name__)

Stop = Callable[[], bool]
# Does a shard and returns what its stages took; None when it was stopped before the end.
Task = Callable[[range, Stop], Seconds | None]
Progress = Callable[[int, Seconds], None]
# How often `stop` is asked [s].
POLL = 0.2


def run_shards(
    task: Task, shards: Sequence[range], workers: int, progress: Progress, stop: Stop
) -> bool:
    """Call `task` for every shard.

    Args:
        task: picklable, sent to each process once; each call is independent of the others. It
            asks its second argument now and then whether to leave its shard as it is.
        shards: what is to be done.
        workers: number of processes; with 1 the work is done in this process.
        progress: called with (items done in all, seconds of the stages) after each shard.
        stop: asked now and then; True ends the run, and shards in work are left undone.

    Returns:
        Whether all shards were done.

    Raises:
        RenderingError: worker processes die before they get anything done.
        KeyboardInterrupt: after Ctrl-C, when the workers have stopped.
        Exception: whatever the task raised, when the workers have stopped.
    """
    done = 0
    results = (
        _in_process(task, shards, stop) if workers == 1 else _in_pool(task, shards, workers, stop)
    )
    with closing(results):
        for items, seconds in results:
            done += items
            progress(done, seconds)
            if stop():
                break
    return done == sum(map(len, shards))


_Results = Generator[tuple[int, Seconds], None, None]


def _in_process(task: Task, shards: Sequence[range], stop: Stop) -> _Results:
    keep_freed_memory()
    for shard in shards:
        seconds = task(shard, stop)
        if seconds is None:
            return
        yield len(shard), seconds


def _in_pool(task: Task, shards: Sequence[range], workers: int, stop: Stop) -> _Results:
    """Yield size and seconds of each shard as it is done, in any order.

    Graphics drivers crash now and then: the shards of a dead process are done again by fresh
    ones, as long as anything gets done.
    """
    waiting = list(reversed(shards))
    while waiting:
        before = len(waiting)
        try:
            yield from _in_one_pool(task, waiting, workers, stop)
            return
        except BrokenProcessPool as error:
            if len(waiting) == before:
                raise RenderingError(
                    'a worker process died, perhaps for lack of memory (see dmesg) or in the '
                    'graphics driver. Finished images are intact: start again to continue, with '
                    'fewer workers.'
                ) from error
            logger.warning('A worker process died; going on with fresh ones.')


def _in_one_pool(task: Task, waiting: list[range], workers: int, stop: Stop) -> _Results:
    """Work off `waiting` from its end; what a broken pool left undone is put back."""
    context = multiprocessing.get_context('spawn')
    # Without a lock, which a process that dies could take with it.
    halt = context.RawValue('b', 0)
    arrivals = context.Value('i', 0)
    initial = task, seats(workers), arrivals, halt
    with (
        environment(ONE_THREAD),
        ProcessPoolExecutor(workers, context, _start_worker, initial) as pool,
    ):
        running: dict[Future[Seconds | None], range] = {}
        try:
            while waiting or running:
                # Few shards are handed out ahead: what a dead pool left is done again.
                while waiting and len(running) < workers + 1:
                    future = pool.submit(_work, waiting[-1])
                    running[future] = waiting.pop()
                ready, _ = wait(running, POLL, FIRST_COMPLETED)
                for future in ready:
                    seconds = future.result()
                    assert seconds is not None, 'nobody has said stop'
                    yield len(running.pop(future)), seconds
                if stop():
                    return
        except BrokenProcessPool:
            waiting.extend(running.values())
            raise
        finally:
            halt.value = 1
            pool.shutdown(wait=True, cancel_futures=True)


# Of this worker process.
_task: Task | None = None
_halt: Any = None


def _start_worker(task: Task, places: Sequence[Seat], arrivals: Any, halt: Any) -> None:
    """Keep the task, take a seat, leave Ctrl-C to the parent, and end when the parent is gone."""
    global _task, _halt
    _task, _halt = task, halt
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    with arrivals.get_lock():
        number, arrivals.value = arrivals.value, arrivals.value + 1
    places[number % len(places)].take()
    keep_freed_memory()
    import cv2  # noqa: PLC0415  only workers need it

    cv2.setNumThreads(1)


def _work(shard: range) -> Seconds | None:
    assert _task is not None
    return _task(shard, lambda: bool(_halt.value))


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
