"""Commands as processes, forked from this one so that none of them imports anything anew."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from soak import shim
from synth_detect_ros.compute.system_calls import follow_parent

# Time that a child of a killed process has to notice [s].
GRACE = 15.0
_PR_SET_CHILD_SUBREAPER = 36
_PIPE = 1 << 20  # [bytes], more than any command says
CRASHED = 70  # status of a command that an exception ended


def adopt_orphans() -> None:
    """Become the parent of whatever the processes of a try leave behind."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Process:
    """A command that runs in a session of its own, at most as long as this process.

    Args:
        work: returns the exit status.
        log: file of its output.
        plan: what happens to its files.
        environment: variables that are set in it.
        file_limit: size beyond which no file grows [bytes]; 0: none.
    """

    def __init__(
        self,
        work: Callable[[], int | None],
        log: Path,
        plan: shim.Plan | None = None,
        environment: dict[str, str] | None = None,
        file_limit: int = 0,
    ) -> None:
        self.log, self._status = log, -1
        self._ended = False
        self.started = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        # The limit is for all files, a log too: what is said goes through a pipe then.
        self._pipe, inner = os.pipe() if file_limit else (0, 0)
        if self._pipe:
            fcntl.fcntl(inner, fcntl.F_SETPIPE_SZ, _PIPE)
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            _run(parent, work, log, plan, environment or {}, (file_limit, inner))
        if inner:
            os.close(inner)

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors='replace')

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        if not self._ended:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended, self._status = True, os.waitstatus_to_exitcode(status)
                self._keep_output()
        return not self._ended

    def _keep_output(self) -> None:
        if self._pipe:
            os.set_blocking(self._pipe, False)
            with suppress(BlockingIOError):
                self.log.write_bytes(os.read(self._pipe, _PIPE))
            os.close(self._pipe)

    def wait(self, timeout: float) -> int:
        """Return its status; minus the signal that ended it.

        Raises:
            TimeoutError: it still runs.
        """
        end = time.monotonic() + timeout
        while self.running:
            if time.monotonic() > end:
                raise TimeoutError(f'still running after {timeout:g} s')
            time.sleep(0.005)
        return self._status

    def send(self, number: int) -> None:
        """Send a signal to the process alone, not to its children."""
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> int:
        """End it by SIGKILL; return its status."""
        self.send(signal.SIGKILL)
        return self.wait(30)


def _run(
    parent: int,
    work: Callable[[], int | None],
    log: Path,
    plan: shim.Plan | None,
    environment: dict[str, str],
    limit: tuple[int, int],
) -> None:
    """Be the process; never returns."""
    status = CRASHED
    try:
        follow_parent(parent, signal.SIGKILL)
        os.setsid()
        file_limit, file = limit
        file = file or os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = (os.fdopen(n, 'w', 1, closefd=False) for n in (1, 2))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update({'PYTHONDONTWRITEBYTECODE': '1', **environment})
        if plan is not None:
            os.environ.update(plan.environment())
            shim.install(plan)
        if file_limit:
            import resource  # noqa: PLC0415

            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        status = work() or 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def orphans(besides: tuple[int, ...] = (), grace: float = GRACE) -> list[str]:
    """Wait until no child is left; return the command lines of those that stay, and end them.

    Args:
        besides: processes that may stay.
        grace: time they have [s].
    """
    end = time.monotonic() + grace
    while left := [pid for pid in children() if pid not in besides]:
        left = [pid for pid in left if os.waitpid(pid, os.WNOHANG)[0] == 0]
        if left and time.monotonic() > end:
            lines = [_command_line(pid) for pid in left]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            orphans(besides, grace)
            return lines
        time.sleep(0.01)
    return []


def children() -> list[int]:
    """Return the processes that this one started, or adopted, and that have not been reaped."""
    me = os.getpid()
    return [int(pid) for pid in Path(f'/proc/{me}/task/{me}/children').read_text().split()]


def _command_line(pid: int) -> str:
    try:
        words = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
    except OSError:
        return str(pid)
    return b' '.join(words).decode(errors='replace')[-120:].strip()
