"""Running a task over shards in worker processes, with a clean stop and survival of crashes.

Processes are spawned, never forked: an OpenGL context does not survive a fork.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from typing import Any

from synth_detect_ros.compute.core_assignment import (
    ONE_THREAD,
    CoreAssignment,
    assign_cores,
    keep_freed_memory,
)
from synth_detect_ros.compute.interrupts import serve_parent
from synth_detect_ros.compute.timing import Seconds
from synth_detect_ros.errors import RenderingError

logger = logging.getLogger(__name__)

Stop = Callable[[], bool]
# Does a shard and returns what its stages took; None when it was stopped before the end.
Task = Callable[[range, Stop], Seconds | None]
# Size of each shard that is done, and what its stages took.
Results = Generator[tuple[int, Seconds], None, None]
# How often `stop` is asked [s].
POLL = 0.2


def run_shards(
    task: Task,
    shards: Sequence[range],
    workers: int,
    progress: Callable[[int, Seconds], None],
    stop: Stop,
) -> bool:
    """Call `task` for every shard, in any order.

    Args:
        task: picklable, sent to each process once; calls are independent of each other. It
            regularly calls its second argument, which says whether to abandon the shard.
        shards: what is to be done.
        workers: number of processes; with 1 the work is done in this process.
        progress: called with (items done in all, seconds of the stages) after each shard.
        stop: called regularly; True ends the run and abandons the shards in work.

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


def _in_process(task: Task, shards: Sequence[range], stop: Stop) -> Results:
    keep_freed_memory()
    for shard in shards:
        seconds = task(shard, stop)
        if seconds is None:
            return
        yield len(shard), seconds


def _in_pool(task: Task, shards: Sequence[range], workers: int, stop: Stop) -> Results:
    """Do the shards in a pool of processes, and in a new one whenever it breaks.

    Graphics drivers crash now and then: what a dead process left is done again, as long as there
    is progress.
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


def _in_one_pool(task: Task, waiting: list[range], workers: int, stop: Stop) -> Results:
    """Do the shards of `waiting` from its end; put back what a broken pool left undone."""
    context = multiprocessing.get_context('spawn')
    # Without a lock: a process that dies could hold it.
    halt = context.RawValue('b', 0)
    started = context.Value('i', 0)
    initial = task, assign_cores(workers), started, halt
    with (
        environment(ONE_THREAD),
        ProcessPoolExecutor(workers, context, _start_worker, initial) as pool,
    ):
        running: dict[Future[Seconds | None], range] = {}
        try:
            while waiting or running:
                # Few shards are submitted ahead: those of a broken pool are done again.
                while waiting and len(running) < workers + 1:
                    future = pool.submit(_work, waiting[-1])  # may find the pool broken
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


def _start_worker(
    task: Task, assignments: Sequence[CoreAssignment], started: Any, halt: Any
) -> None:
    """Keep the task, take cores, leave Ctrl-C to the parent, and end when the parent is gone."""
    global _task, _halt
    _task, _halt = task, halt
    serve_parent()
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    assignments[number % len(assignments)].apply()
    keep_freed_memory()
    import cv2  # noqa: PLC0415  only workers need it

    cv2.setNumThreads(1)


def _work(shard: range) -> Seconds | None:
    assert _task is not None
    return _task(shard, lambda: bool(_halt.value))


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
