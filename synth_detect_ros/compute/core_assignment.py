"""What each worker process may use: its own cores, a GPU, one thread, and its memory."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

# One thread per process: BLAS would start one per core in every worker. At 0, Mesa's software
# rasteriser works in the calling thread, which saves waiting for another.
ONE_THREAD = {
    'LP_NUM_THREADS': '0',
    'OMP_NUM_THREADS': '1',
    'OPENBLAS_NUM_THREADS': '1',
    'MKL_NUM_THREADS': '1',
}
# The EGL device that a process draws on; read by the rendering backends.
DEVICE = 'EGL_DEVICE_ID'
# Parameters of glibc's mallopt, see malloc.h, and their values [bytes].
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_ARRAY, _KEPT = 32 << 20, 256 << 20


@dataclass(frozen=True)
class CoreAssignment:
    """What one worker may use.

    Attributes:
        cores: of the processor.
        device: EGL device to draw on; None: the first that works, or the user's choice.
    """

    cores: tuple[int, ...]
    device: int | None

    def apply(self) -> None:
        """Bind this process to its cores and device; before it opens OpenGL."""
        os.sched_setaffinity(0, self.cores)
        if self.device is not None:
            os.environ[DEVICE] = str(self.device)


def default_workers() -> int:
    """Return one worker for each GPU, or else for each core this process may use."""
    return count_gpus() or len(os.sched_getaffinity(0))


def assign_cores(workers: int) -> list[CoreAssignment]:
    """Divide the cores of this process, and the GPUs, among workers.

    As long as there are enough cores, no two workers share one. EGL lists NVIDIA's GPUs first;
    where the user has chosen a device (EGL_DEVICE_ID), all workers draw on that one.
    """
    cores, gpus = tuple(sorted(os.sched_getaffinity(0))), count_gpus()
    deal_gpus = gpus > 0 and DEVICE not in os.environ
    assignments = []
    for k in range(workers):
        own = cores[k * len(cores) // workers : (k + 1) * len(cores) // workers]
        device = k % gpus if deal_gpus else None
        assignments.append(CoreAssignment(own if workers <= len(cores) else cores, device))
    return assignments


def count_gpus(devices: Path = Path('/dev')) -> int:
    """Return the number of NVIDIA GPUs, without opening one."""
    return sum(bool(re.fullmatch(r'nvidia\d+', path.name)) for path in devices.glob('nvidia*'))


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next arrays.

    Every image needs arrays of the same sizes. Returning their pages to the system and asking for
    them again takes longer than some of the work on them. Does nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ARRAY)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
