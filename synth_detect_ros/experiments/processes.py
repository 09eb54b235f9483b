"""Commands of `synth-detect` as processes, some side by side, each on cores of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, BinaryIO

import torch

from synth_detect_ros.compute.interrupts import PARENT
from synth_detect_ros.config.options import Options, to_yaml
from synth_detect_ros.errors import SynthDetectError
from synth_detect_ros.files import make_folder, write_atomic

logger = logging.getLogger(__name__)

LOG = 'commands.log'


class CommandError(SynthDetectError, RuntimeError):
    """A command failed; the message is its own."""


class ProcessPool:
    """Processes side by side, each on cores of its own, so that their wall times compare.

    Args:
        jobs: processes at a time.

    Attributes:
        threads: cores of each process.
    """

    def __init__(self, jobs: int) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.threads = max(1, len(cores) // jobs)
        self._jobs = jobs
        self._free: queue.Queue[list[int]] = queue.Queue()
        for k in range(jobs):
            first = k * self.threads
            self._free.put([cores[(first + i) % len(cores)] for i in range(self.threads)])
        self._children: set[subprocess.Popen[bytes]] = set()
        self._stopped, self._starting = threading.Event(), threading.Lock()

    def map(
        self, tasks: Sequence[Callable[[], None]], report: Callable[[int, int], None]
    ) -> list[str]:
        """Do the tasks; return the error of each, '' where there was none.

        Args:
            tasks: each in a thread of its own, where it may call `command`.
            report: called with (tasks done, tasks in all).

        Raises:
            KeyboardInterrupt: passed on when all processes have saved and ended.
        """
        errors = [''] * len(tasks)
        with ThreadPoolExecutor(self._jobs) as threads:
            futures = {threads.submit(task): k for k, task in enumerate(tasks)}
            try:
                for done, future in enumerate(as_completed(futures), start=1):
                    try:
                        future.result()
                    except (SynthDetectError, OSError) as error:
                        errors[futures[future]] = str(error)
                        logger.warning('%s', error)
                    report(done, len(tasks))
            except KeyboardInterrupt:
                self._stop()
                threads.shutdown(cancel_futures=True)
                raise
        return errors

    def _stop(self) -> None:
        with self._starting:
            self._stopped.set()
        for child in tuple(self._children):
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)  # a shell may have had SIGINT ignored

    def command(self, name: str, config: Options, folder: Path) -> None:
        """Run `synth-detect NAME` with a configuration, which is kept in `folder` with the log.

        Raises:
            CommandError: it failed.
        """
        make_folder(folder)
        file = folder / f'{name}.config.yaml'
        write_atomic(file, to_yaml(config).encode())
        module = 'synth_detect_ros.commands.main'
        line = [sys.executable, '-m', module, name, '--config', str(file)]
        own = {f'{who}_NUM_THREADS': str(self.threads) for who in ('OMP', 'OPENBLAS', 'MKL')}
        own[PARENT] = str(os.getpid())
        cores = self._free.get()
        try:
            with (folder / LOG).open('ab') as log:
                start = log.tell()
                status = self._run(line, log, {**os.environ, **own}, cores)
        finally:
            self._free.put(cores)
        if status:
            raise CommandError(_error(folder / LOG, start) or f'{name} ended with status {status}')

    def _run(
        self, line: Sequence[str], log: BinaryIO, env: Mapping[str, str], cores: Sequence[int]
    ) -> int:
        """Run a process on some cores; return its status."""
        with self._starting:  # either `_stop` sees the child, or none is started any more
            if self._stopped.is_set():
                raise CommandError('interrupted')
            # In a session of its own: Ctrl-C reaches it from here, once.
            child = subprocess.Popen(line, stdout=log, stderr=log, env=env, start_new_session=True)
            self._children.add(child)
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(child.pid, cores)
        status = child.wait()
        self._children.discard(child)
        return status


def _error(log: Path, start: int) -> str:
    """Return the last error line of a log, from a position on."""
    lines = log.read_bytes()[start:].decode(errors='replace').splitlines()
    found = [line for line in lines if 'error:' in line.lower()]
    return found[-1].replace('synth-detect: error: ', '') if found else ''


def machine() -> dict[str, Any]:
    """Return the processor, the number of cores of this process, and the GPU if there is one."""
    name, info = platform.processor() or platform.machine(), Path('/proc/cpuinfo')
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith('model name')]
        name = lines[0].split(':', 1)[1].strip() if lines else name
    gpu = {'gpu': torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {'cpu': name, 'cores': len(os.sched_getaffinity(0)), **gpu}
