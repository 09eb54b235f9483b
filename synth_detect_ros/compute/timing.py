"""How long a run takes: the seconds of each stage, summed over images and workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Seconds = dict[str, float]
# Stages named in a progress line.
LARGEST = 3


class Stopwatch:
    """Sums the time of each stage; stages of different names may overlap in threads."""

    def __init__(self) -> None:
        self._seconds: Seconds = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the block to stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - start
            self._seconds[name] = self._seconds.get(name, 0.0) + taken

    def take(self) -> Seconds:
        """Return the seconds of each stage since the last call."""
        seconds, self._seconds = self._seconds, {}
        return seconds


@dataclass(frozen=True)
class Timing:
    """Time that a run has taken so far, without that of earlier, interrupted runs.

    Attributes:
        images: made in this run.
        workers: processes at work.
        wall_s: since the start, including the start of the processes [s].
        stages: stage -> seconds, summed over workers [s].
    """

    images: int
    workers: int
    wall_s: float
    stages: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Images per second of all workers together; 0 before the first."""
        return self.images / self.wall_s if self.wall_s > 0 else 0.0

    def plus(self, images: int, wall_s: float, stages: Mapping[str, float]) -> Timing:
        """Return the timing with more images, at `wall_s` since the start."""
        names = {**self.stages, **stages}
        total = {name: self.stages.get(name, 0.0) + stages.get(name, 0.0) for name in names}
        return Timing(self.images + images, self.workers, wall_s, total)

    def summary(self) -> str:
        """Return images per second and the largest stages in one short line."""
        largest = sorted(self.stages.items(), key=lambda item: -item[1])[:LARGEST]
        each = ', '.join(f'{name} {1e3 * s / self.images:.0f} ms' for name, s in largest)
        return f'{self.rate:.1f} images/s' + (f' ({each})' if each else '')

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for dataset.yaml; stages in milliseconds per image."""
        return {
            'images': self.images,
            'workers': self.workers,
            'wall_s': round(self.wall_s, 3),
            'images_per_second': round(self.rate, 3),
            'ms_per_image': {
                name: round(1e3 * s / max(self.images, 1), 3) for name, s in self.stages.items()
            },
        }
