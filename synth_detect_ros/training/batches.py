"""Batches of a training run, made ahead by loader processes and a thread."""

from __future__ import annotations

import logging
import queue
import re
import shutil
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from synth_detect_ros.compute.core_assignment import ONE_THREAD
from synth_detect_ros.compute.interrupts import linger, serve_parent
from synth_detect_ros.compute.workers import environment
from synth_detect_ros.config import TrainConfig
from synth_detect_ros.dataset.generated import start_process
from synth_detect_ros.errors import TrainingError
from synth_detect_ros.training.data import TrainingData

logger = logging.getLogger(__name__)

T = TypeVar('T')
U = TypeVar('U')
# Lists that each loader process makes ahead, and batches that are prepared ahead of the step.
LOADED, PREPARED = 4, 2
# How long the end of a run waits for the batch that is being made [s].
PATIENCE_S = 10


def load_batches(
    config: TrainConfig, data: TrainingData, items: Dataset[T], step: int
) -> Iterator[list[T]]:
    """Return the endless batches of a run from a step on, made ahead in loader processes.

    Args:
        config: of the run.
        data: that it trains on; gives the order.
        items: by the keys of `data`.
        step: the first one wanted.
    """
    workers = affordable_workers(config, data.image_bytes)
    spawned = data.renders and workers > 0  # an OpenGL context does not survive a fork
    loader = DataLoader(
        items,
        batch_size=config.batch,
        sampler=data.keys(step * config.batch),
        num_workers=workers,
        collate_fn=list,
        prefetch_factor=LOADED if workers else None,
        multiprocessing_context='spawn' if spawned else None,
        worker_init_fn=_start_rendering_loader if data.renders else _start_loader,
    )
    with environment(ONE_THREAD if spawned else {}):
        return iter(loader)


def _start_loader(_: int) -> None:
    """Leave signals that all processes get to the one that trains, and end with it."""
    serve_parent()
    linger()


def _start_rendering_loader(number: int) -> None:
    _start_loader(number)
    start_process(number)


@contextmanager
def telling_of_lost_loaders() -> Iterator[None]:
    """Say in the block what became of a loader process that something else ended.

    PyTorch raises at any place of the main thread, or where a batch is taken.

    Raises:
        TrainingError: a loader process was ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not re.match(r'DataLoader worker \(pid', str(error)):
            raise
        raise TrainingError(
            f'a loader process was ended from outside ({error}), most likely by the system for '
            'want of memory. Give fewer workers or a smaller batch; the same command goes on from '
            'the last checkpoint.'
        ) from error


def affordable_workers(config: TrainConfig, image_bytes: int) -> int:
    """Return the loader processes that shared memory can feed; 0 loads in this process.

    A full /dev/shm, 64 MB in containers, kills loader processes without a word
    (maskrcnn-benchmark#195, detr#602).
    """
    shared = Path('/dev/shm')
    if not config.workers or not shared.is_dir():
        return config.workers
    free = shutil.disk_usage(shared).free
    needed = 2 * (LOADED + 1) * config.batch * image_bytes
    workers = min(config.workers, free // needed)
    if workers < config.workers:
        logger.warning(
            '%d of %d loader processes: /dev/shm has %d MB free and each needs %d MB. In a '
            'container, give it more with --shm-size.',
            workers,
            config.workers,
            free >> 20,
            needed >> 20,
        )
    return workers


def prefetch(items: Iterator[T], prepare: Callable[[T], U]) -> Generator[U, None, None]:
    """Yield prepare(item) of every item, made ahead by one thread, in order.

    The thread holds nothing up for long: it waits for ever for a loader process that is ended
    amid a message.

    Args:
        items: endless; taken in that thread.
        prepare: run in that thread; its errors are raised here, in their turn.
    """
    asked: queue.SimpleQueue[Future[U] | None] = queue.SimpleQueue()

    def work() -> None:
        while (future := asked.get()) is not None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(prepare(next(items)))
                except BaseException as error:
                    future.set_exception(error)

    def ask() -> Future[U]:
        future: Future[U] = Future()
        asked.put(future)
        return future

    thread = threading.Thread(target=work, name='prefetch', daemon=True)
    thread.start()
    waiting = deque(ask() for _ in range(PREPARED))
    try:
        while True:
            result = waiting.popleft().result()
            waiting.append(ask())
            yield result
    finally:
        for future in waiting:
            future.cancel()
        asked.put(None)
        thread.join(PATIENCE_S)


def to_device(
    tensors: Mapping[str, torch.Tensor], device: torch.device
) -> dict[str, torch.Tensor]:
    """Return tensors on a device; to a GPU they go from pinned memory, without waiting."""
    if device.type != 'cuda':
        return {k: v.to(device) for k, v in tensors.items()}
    return {k: v.pin_memory().to(device, non_blocking=True) for k, v in tensors.items()}
