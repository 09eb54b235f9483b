"""What each worker process may use: cores of its own, a GPU, one thread, and its memory."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

# One thread a process: BLAS would start one a core in every worker. Mesa's software rasteriser
# works in the calling thread at 0, which saves it the waiting for another.
ONE_THREAD = {
    'LP_NUM_THREADS': '0',
    'OMP_NUM_THREADS': '1',
    'OPENBLAS_NUM_THREADS': '1',
    'MKL_NUM_THREADS': '1',
}
# Which EGL device a process draws on; read by the rendering backends.
DEVICE = 'EGL_DEVICE_ID'
# Parameters of glibc's mallopt, see malloc.h, and their values [bytes].
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_ARRAY, _KEPT = 32 << 20, 256 << 20


@dataclass(frozen=True)
class Seat:
    """Where one worker works.

    Attributes:
        cores: that it may use.
        device: EGL device that it draws on; None: the first that works, or the user's choice.
    """

    cores: tuple[int, ...]
    device: int | None

    def take(self) -> None:
        """Bind this process to the seat; before it opens OpenGL."""
        os.sched_setaffinity(0, self.cores)
        if self.device is not None:
            os.environ[DEVICE] = str(self.device)


def default_workers() -> int:
    """Return one for each GPU, or else for each core this process may use."""
    return count_gpus() or len(os.sched_getaffinity(0))


def seats(workers: int) -> list[Seat]:
    """Share the cores of this process, and the GPUs, among workers.

    As long as there are enough cores, no two workers share one. EGL lists NVIDIA's GPUs first;
    where the user has chosen a device (EGL_DEVICE_ID), all workers draw on that one.
    """
    cores, gpus = sorted(os.sched_getaffinity(0)), count_gpus()
    bounds = [number * len(cores) // workers for number in range(workers + 1)]
    if workers > len(cores):
        shares = [tuple(cores)] * workers
    else:
        shares = [tuple(cores[a:b]) for a, b in pairwise(bounds)]
    chosen = gpus and DEVICE not in os.environ
    return [Seat(own, number % gpus if chosen else None) for number, own in enumerate(shares)]


def count_gpus(devices: Path = Path('/dev')) -> int:
    """Return the number of NVIDIA GPUs, without opening one."""
    return sum(bool(re.fullmatch(r'nvidia\d+', path.name)) for path in devices.glob('nvidia*'))


def keep_freed_memory() -> None:
    """Let this process keep what it frees for what it needs next.

    Each image needs the same arrays again. Giving their pages back to the system and taking them
    anew costs more than some of the work on them. Does nothing where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ARRAY)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
