"""Run a task over shards in worker processes; stop cleanly, and say so when a worker dies.

Processes are spawned, never forked: an OpenGL context does not survive a fork.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from synth_detect_ros.errors import RenderingError

logger = logging.getLogger(__name__)

Task = Callable[[range], None]
Progress = Callable[[int, int, float], None]
Stop = Callable[[], bool]
# How often `stop` is asked [s].
POLL = 0.2
# One thread a process: Mesa and BLAS would each start one a core in every worker.
ONE_THREAD = dict.fromkeys(
    ('LP_NUM_THREADS', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'), '1'
)


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def run_shards(
    task: Task,
    shards: Sequence[range],
    workers: int,
    progress: Callable[[int, float], None],
    stop: Stop,
) -> bool:
    """Call `task` for every shard.

    Args:
        task: picklable, sent to each process once; each call is independent of the others.
        shards: what is to be done.
        workers: number of processes; with 1 the work is done in this process.
        progress: called with (items done, items per second) after each shard.
        stop: asked now and then; True ends the run when the shards in work are done.

    Returns:
        Whether all shards were done.

    Raises:
        RenderingError: worker processes die before they get anything done.
        KeyboardInterrupt: after Ctrl-C, when the shards in work are done.
        Exception: whatever the task raised, when the shards in work are done.
    """
    start, done = time.perf_counter(), 0
    results = _in_process(task, shards) if workers == 1 else _in_pool(task, shards, workers, stop)
    for items in results:
        done += items
        progress(done, done / (time.perf_counter() - start))
        if stop():
            results.close()
            break
    return done == sum(map(len, shards))


def _in_process(task: Task, shards: Sequence[range]) -> Generator[int, None, None]:
    for shard in shards:
        task(shard)
        yield len(shard)


def _in_pool(
    task: Task, shards: Sequence[range], workers: int, stop: Stop
) -> Generator[int, None, None]:
    """Yield the size of each shard as it is done, in any order.

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


def _in_one_pool(
    task: Task, waiting: list[range], workers: int, stop: Stop
) -> Generator[int, None, None]:
    """Work off `waiting` from its end; what a broken pool left undone is put back."""
    context = multiprocessing.get_context('spawn')
    with (
        _environment(ONE_THREAD),
        ProcessPoolExecutor(workers, context, _start_worker, (task,)) as pool,
    ):
        running: dict[Future[None], range] = {}
        try:
            while waiting or running:
                # Few shards are handed out ahead: on Ctrl-C only these are waited for.
                while waiting and len(running) < workers + 1:
                    future = pool.submit(_work, waiting[-1])
                    running[future] = waiting.pop()
                ready, _ = wait(running, POLL, FIRST_COMPLETED)
                for future in ready:
                    future.result()
                    yield len(running.pop(future))
                if stop():
                    return
        except BrokenProcessPool:
            waiting.extend(running.values())
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_task: Task | None = None  # of this worker process


def _start_worker(task: Task) -> None:
    """Keep the task, leave Ctrl-C to the parent, and end when the parent is gone."""
    global _task  # noqa: PLW0603  the pool's way to give a process something once
    _task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    import cv2  # noqa: PLC0415  only workers need it

    cv2.setNumThreads(1)


def _work(shard: range) -> None:
    assert _task is not None
    _task(shard)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
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
