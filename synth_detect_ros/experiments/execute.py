"""Running cells: commands of `synth-detect`, each a process of its own, some side by side."""

from __future__ import annotations

import contextlib
import json
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

from synth_detect_ros.config import EvaluateConfig, TrainConfig
from synth_detect_ros.config.options import Options, to_yaml
from synth_detect_ros.dataset.files import write_atomic
from synth_detect_ros.errors import SynthDetectError
from synth_detect_ros.training.train import read_progress

logger = logging.getLogger(__name__)

RECORD, LOG = 'trained.json', 'commands.log'


class CellError(SynthDetectError, RuntimeError):
    """A command of a cell failed; the message is its own."""


class Pool:
    """Processes side by side, each on cores of its own, so that their wall times compare.

    Args:
        jobs: processes at a time.
    """

    def __init__(self, jobs: int) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.jobs, self.threads = jobs, max(1, len(cores) // jobs)
        self._seats: queue.Queue[list[int]] = queue.Queue()
        for k in range(jobs):
            self._seats.put(
                [cores[(k * self.threads + i) % len(cores)] for i in range(self.threads)]
            )
        self._children: set[subprocess.Popen[bytes]] = set()
        self._stopped, self._starting = threading.Event(), threading.Lock()

    def map(
        self, tasks: Sequence[Callable[[], None]], report: Callable[[int, int], None]
    ) -> list[str]:
        """Do the tasks; return the error of each, '' where there was none.

        Raises:
            KeyboardInterrupt: passed on when all children have saved and ended.
        """
        errors = [''] * len(tasks)
        with ThreadPoolExecutor(self.jobs) as threads:
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
                child.send_signal(signal.SIGINT)

    def command(self, name: str, config: Options, folder: Path) -> None:
        """Run `synth-detect NAME` with a configuration, which is kept in `folder` with the log.

        Raises:
            CellError: it failed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f'{name}.config.yaml'
        write_atomic(file, to_yaml(config).encode())
        line = [
            sys.executable,
            '-m',
            'synth_detect_ros.commands.main',
            name,
            '--config',
            str(file),
        ]
        threads = {f'{who}_NUM_THREADS': str(self.threads) for who in ('OMP', 'OPENBLAS', 'MKL')}
        seat = self._seats.get()
        try:
            with (folder / LOG).open('ab') as log:
                start = log.tell()
                status = self._run(line, log, {**os.environ, **threads}, seat)
        finally:
            self._seats.put(seat)
        if status:
            raise CellError(_error(folder / LOG, start) or f'{name} ended with status {status}')

    def _run(
        self, line: Sequence[str], log: BinaryIO, env: Mapping[str, str], seat: Sequence[int]
    ) -> int:
        """Run a process on the cores of a seat; return its status."""
        with self._starting:  # either `_stop` sees the child, or none is started any more
            if self._stopped.is_set():
                raise CellError('interrupted')
            # In a session of its own: Ctrl-C reaches it from here, once.
            child = subprocess.Popen(line, stdout=log, stderr=log, env=env, start_new_session=True)
            self._children.add(child)
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(child.pid, seat)
        status = child.wait()
        self._children.discard(child)
        return status


def _error(log: Path, start: int) -> str:
    """Return the last error line of a log, from a position on."""
    lines = log.read_bytes()[start:].decode(errors='replace').splitlines()
    found = [line for line in lines if 'error:' in line.lower()]
    return found[-1].replace('synth-detect: error: ', '') if found else ''


def train_cell(pool: Pool, config: TrainConfig) -> None:
    """Train unless that is done; the record says on what machine, how far and how long.

    Raises:
        CellError: training failed.
    """
    folder = Path(config.out)
    if (folder / RECORD).is_file():
        return
    pool.command('train', config, folder)
    done = read_progress(folder)
    record = {'steps': done.step, 'seconds': done.elapsed_s, **machine(), 'threads': pool.threads}
    write_atomic(folder / RECORD, json.dumps(record, indent=2).encode())


def score_cell(pool: Pool, config: EvaluateConfig) -> Mapping[str, Any]:
    """Score unless that is done, pictures included where they are wanted.

    Raises:
        CellError: evaluation failed.
    """
    path = Path(config.json)
    if not path.is_file() or (config.overlays and not Path(config.overlays).is_dir()):
        pool.command('evaluate', config, path.parent / path.stem)
    return dict(json.loads(path.read_text()))


def machine() -> dict[str, Any]:
    """Return the processor, the number of cores of this process, and the GPU if there is one."""
    name, info = platform.processor() or platform.machine(), Path('/proc/cpuinfo')
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith('model name')]
        name = lines[0].split(':', 1)[1].strip() if lines else name
    gpu = {'gpu': torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {'cpu': name, 'cores': len(os.sched_getaffinity(0)), **gpu}
