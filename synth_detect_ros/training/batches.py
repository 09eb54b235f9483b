"""Batches of a training run: their order, the processes and the thread that make them ahead."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from synth_detect_ros.compute.core_assignment import ONE_THREAD
from synth_detect_ros.compute.workers import environment
from synth_detect_ros.config import TrainConfig
from synth_detect_ros.dataset.generated import start_process

logger = logging.getLogger(__name__)

# A batch that is ready for its step: computes the named losses of the detector.
Losses = Callable[[], dict[str, torch.Tensor]]
T = TypeVar('T')
U = TypeVar('U')
# Batches that are prepared ahead of the step.
AHEAD = 2


def batches(
    data: Dataset[T], keys: Iterable[int], batch: int, workers: int, *, renders: bool = False
) -> Iterator[list[T]]:
    """Return lists of `batch` items, four lists ahead in each process.

    Args:
        data: the items.
        keys: of the items, in order.
        batch: items of a list.
        workers: processes; 0 makes the items here.
        renders: whether making an item needs OpenGL: the processes are spawned, not forked.
    """
    loader = DataLoader(
        data,
        batch_size=batch,
        sampler=keys,
        num_workers=workers,
        collate_fn=list,
        prefetch_factor=4 if workers else None,
        multiprocessing_context='spawn' if renders and workers else None,
        worker_init_fn=start_process if renders else None,
    )
    with environment(ONE_THREAD if renders and workers else {}):
        return iter(loader)


class Keys(torch.utils.data.Sampler[int]):
    """Keys of `TrainingSet`: each epoch a permutation of its own, endless, from any place on."""

    def __init__(self, length: int, seed: int, first: int) -> None:
        self.length, self.seed, self.first = length, seed, first

    def __iter__(self) -> Iterator[int]:
        epoch, start = divmod(self.first, self.length)
        while True:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
            yield from (epoch * self.length + int(k) for k in order[start:])
            epoch, start = epoch + 1, 0


def affordable_workers(config: TrainConfig, image_bytes: int) -> int:
    """Return the loader processes that shared memory can feed; 0 loads in this process.

    A full /dev/shm, 64 MB in containers, kills loader processes without a word
    (maskrcnn-benchmark#195, detr#602).
    """
    shared = Path('/dev/shm')
    if not config.workers or not shared.is_dir():
        return config.workers
    needed = 5 * config.batch * image_bytes  # four batches ahead and the one in use
    workers = min(config.workers, shutil.disk_usage(shared).free // (2 * needed))
    if workers < config.workers:
        logger.warning(
            '%d of %d loader processes: /dev/shm has %d MB free and each needs %d MB. In a '
            'container, give it more with --shm-size.',
            workers,
            config.workers,
            shutil.disk_usage(shared).free >> 20,
            2 * needed >> 20,
        )
    return int(workers)


def prefetch(
    items: Iterable[T], prepare: Callable[[T], U], ahead: int = AHEAD
) -> Generator[U, None, None]:
    """Yield prepare(item) of every item, made ahead by one thread, in order.

    Args:
        items: taken in that thread.
        prepare: run in that thread; its errors are raised here, in their turn.
        ahead: how many results wait.
    """
    source = iter(items)
    done = object()

    def make() -> Any:
        item = next(source, done)
        return done if item is done else prepare(item)  # type: ignore[arg-type]

    with ThreadPoolExecutor(1, 'prefetch') as pool:
        waiting: deque[Future[Any]] = deque(pool.submit(make) for _ in range(ahead))
        try:
            while (result := waiting.popleft().result()) is not done:
                waiting.append(pool.submit(make))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


def send(tensors: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Return tensors on a device; to a GPU they go from pinned memory, without waiting."""
    if device.type != 'cuda':
        return {k: v.to(device) for k, v in tensors.items()}
    return {k: v.pin_memory().to(device, non_blocking=True) for k, v in tensors.items()}
