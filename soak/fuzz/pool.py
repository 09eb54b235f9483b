"""Fuzzed files in child processes, each with a limit on memory and time."""

from __future__ import annotations

import faulthandler
import itertools
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from random import Random

from soak.fuzz.mutations import mutate_file
from soak.fuzz.readers import READERS
from soak.fuzz.seeds import fuzzed_files
from synth_detect_ros.errors import SynthDetectError

MEMORY = 2 << 30  # [bytes] beyond what a process has before its first file
SECONDS = 10.0  # of processor time, and so many times it by the clock, which others may use up
BY_THE_CLOCK = 3.0
CASES_A_PROCESS = 150


@dataclass(frozen=True)
class Case:
    """One changed input; its random numbers follow from kind and number alone."""

    kind: str
    number: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f'{self.kind}-{self.number}'


def write_case(case: Case, seeds: Path, folder: Path) -> None:
    """Copy a seed and change one or two of its files."""
    shutil.copytree(seeds / case.kind, folder)
    rng = Random(f'change {case.name}')
    files = fuzzed_files(case.kind, folder)
    for path in sorted({rng.choice(files) for _ in range(rng.choice((1, 1, 1, 2)))}):
        mutate_file(path, rng)


def read_case(case: Case, folder: Path) -> None:
    """Read a changed input as the package does; raises what comes out."""
    READERS[case.kind](folder, Random(f'read {case.name}'))


def outcome(case: Case, seeds: Path, folder: Path) -> str:
    """Return 'read', 'refused', or what came out that should not."""
    write_case(case, seeds, folder)
    try:
        read_case(case, folder)
    except (SynthDetectError, OSError):
        return 'refused'
    except BaseException as error:  # whatever it is: that is the question
        own = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if 'synth_detect_ros' in f.filename
        ]
        where = f'{Path(own[-1].filename).name}:{own[-1].lineno}' if own else '?'
        text = str(error)[:120].encode('ascii', 'backslashreplace').decode()
        return f'{type(error).__name__} at {where}: {text}'
    return 'read'


class _Child:
    """A process that reads cases, one after the other."""

    def __init__(self, seeds: Path, folder: Path) -> None:
        self.case: Case | None = None
        self.done, self.dead = 0, False
        self._pipe, inner = connection.Pipe()
        self._pid = os.fork()
        if not self._pid:
            self._pipe.close()
            _serve(inner, seeds, folder)
        inner.close()

    def fileno(self) -> int:
        """Return what to wait for."""
        return self._pipe.fileno()

    def start(self, case: Case) -> None:
        """Hand a case over."""
        self.case, self._clock, self._used = case, time.monotonic(), self._processor()
        self._pipe.send(case)

    def result(self) -> str | None:
        """Return the outcome of the case in work; None: there is none so far."""
        try:
            result = self._pipe.recv() if self._pipe.poll() else self._late()
        except EOFError:
            result = f'killed by signal {self.end(broken=True)}'
        if result is not None:
            self.case, self.done = None, self.done + 1
        return result

    def _late(self) -> str | None:
        clock = time.monotonic() - self._clock
        used = self._processor() - self._used
        if used < SECONDS and clock < BY_THE_CLOCK * SECONDS:
            return None
        self.end()
        return f'more than {SECONDS:g} s'

    def _processor(self) -> float:
        """Return the processor time of the process so far [s]."""
        fields = Path(f'/proc/{self._pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def end(self, *, broken: bool = False) -> int:
        """End the process; return the signal that it has died of if it is broken, 0 for none."""
        self.dead = True
        self._pipe.close()
        for _ in range(200 if broken else 0):  # until a process that is dead can be waited for
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            time.sleep(0.05)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        return 0


def _serve(pipe: connection.Connection, seeds: Path, folder: Path) -> None:
    """Read cases until the pipe closes; never returns."""
    faulthandler.disable()
    log = os.open(folder.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = Path('/proc/self/status').read_text()
    size = int(status.split('VmSize:')[1].split()[0]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        while True:
            case = pipe.recv()
            result = outcome(case, seeds, folder)
            shutil.rmtree(folder, ignore_errors=True)
            pipe.send(result)
    except (EOFError, OSError):
        pass
    finally:
        os._exit(0)


def run_cases(cases: Iterable[Case], seeds: Path, jobs: int) -> Iterator[tuple[Case, str]]:
    """Yield each case and its outcome, in any order."""
    waiting, numbers = iter(cases), itertools.count()
    children: list[_Child] = []
    with tempfile.TemporaryDirectory(prefix='fuzz') as scratch:
        try:
            while True:
                for child in [c for c in children if c.case is None and not c.dead]:
                    if child.done >= CASES_A_PROCESS:
                        child.end()
                children = [child for child in children if not child.dead]
                while len(children) < jobs:
                    children.append(_Child(seeds, Path(scratch, str(next(numbers)))))
                for child in [c for c in children if c.case is None]:
                    if case := next(waiting, None):
                        child.start(case)
                busy = [child for child in children if child.case is not None]
                if not busy:
                    return
                connection.wait(busy, 0.2)
                for child in busy:
                    case = child.case
                    if (result := child.result()) is not None and case is not None:
                        yield case, result
        finally:
            for child in children:
                if not child.dead:
                    child.end()
