"""How much memory this process may still take, and what it gives back."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

# Kernel interfaces; a container's limit is that of the control group it sees as its own.
MEMINFO, GROUP = Path('/proc/meminfo'), Path('/sys/fs/cgroup')


def available_memory() -> int | None:
    """Return what the machine, or the container around this process, has left [bytes].

    None where the system does not tell.
    """
    known = []
    with suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text().splitlines()
        known.append(1024 * next(int(x.split()[1]) for x in lines if x.startswith('MemAvailable')))
    with suppress(OSError, ValueError):  # 'max' is no number: no limit
        limit, used = ((GROUP / f'memory.{name}').read_text() for name in ('max', 'current'))
        known.append(max(int(limit) - int(used), 0))
    return min(known, default=None)


def give_back_memory() -> None:
    """Return freed memory to the system: the allocator keeps what lies between blocks in use.

    For a moment when something large is gone for long; without glibc only Python's garbage goes.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)
