"""Ends a process at the n-th change of a folder, or fills its disk from there on.

A change is a file opened for writing, a rename, a folder made, a file removed, an fsync. They are
counted over all processes of a command: children take the plan from the environment, forked ones
from their parent, spawned ones through `soak/site/sitecustomize.py`. What a plan asks for happens
once; the process dies by SIGKILL, as in a crash of the machine, with nothing closed or flushed.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VARIABLE = 'SOAK_SHIM'
CHANGES = ('os.rename', 'os.mkdir', 'os.remove', 'os.rmdir', 'os.link', 'os.symlink')
ACTIONS = ('count', 'before', 'after', 'torn', 'full')


@dataclass(frozen=True)
class Plan:
    """What is done to a command.

    Attributes:
        action: of ACTIONS: count changes only; die before or after the n-th; cut off half of what
            the file that is being synchronised got since it was opened or last synchronised, and
            die; refuse it and all later ones, as a full disk does.
        number: n, from 1.
        root: changes elsewhere do not count.
        counter: file that grows by a byte a change.
    """

    action: str
    number: int
    root: str
    counter: str

    def environment(self) -> dict[str, str]:
        """Return the variables that hand the plan to a process."""
        site = str(Path(__file__).parent / 'site')
        paths = [site, str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH', '')]
        return {VARIABLE: json.dumps(asdict(self)), 'PYTHONPATH': os.pathsep.join(paths)}


class _Shim:
    def __init__(self, plan: Plan) -> None:
        self._plan, self._busy = plan, False
        self._root = os.path.realpath(plan.root) + os.sep
        self._fsync = os.fsync
        self._safe: dict[str, int] = {}  # bytes of a file that no crash can take

    def install(self) -> None:
        sys.addaudithook(self._hook)
        os.fsync = self._on_fsync

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self._busy:
            return
        if event == 'open':
            path, _, flags = args
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and self._inside(path):
                self._keep(path, flags & os.O_TRUNC)
                self._change(event, args, fills=True)
        elif event in CHANGES and self._inside(args[1 if event == 'os.link' else 0]):
            self._change(event, args, fills=event == 'os.mkdir')

    def _on_fsync(self, file: Any) -> None:
        number = file if isinstance(file, int) else file.fileno()
        path = os.readlink(f'/proc/self/fd/{number}')
        if self._inside(path):
            self._change('fsync', (number, path), fills=True)
        self._fsync(number)
        self._keep(path)

    def _keep(self, path: Any, emptied: int = 0) -> None:
        path = os.path.realpath(os.fsdecode(path))
        there = os.path.isfile(path) and not emptied
        self._safe[path] = os.path.getsize(path) if there else 0

    def _inside(self, path: Any) -> bool:
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        return isinstance(path, str) and (os.path.abspath(path) + os.sep).startswith(self._root)

    def _change(self, event: str, args: tuple[Any, ...], *, fills: bool) -> None:
        """Count a change, and do what is planned for it."""
        plan, self._busy = self._plan, True
        try:
            file = os.open(plan.counter, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.write(file, b'.')
            number = os.lseek(file, 0, os.SEEK_CUR)
            os.close(file)
            if plan.action == 'full' and number >= plan.number and fills:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if number != plan.number or plan.action in ('count', 'full'):
                return
            if plan.action == 'after':
                self._do(event, args)
            elif plan.action == 'torn' and event == 'fsync':
                safe = self._safe.get(args[1], 0)
                os.truncate(args[1], (safe + os.path.getsize(args[1])) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            self._busy = False

    def _do(self, event: str, args: tuple[Any, ...]) -> None:
        """Do the change itself: hooks are called before it."""
        if event == 'open':
            os.open(args[0], args[2], 0o666)
        elif event == 'os.rename':
            os.rename(args[0], args[1])
        elif event == 'os.mkdir':
            os.mkdir(args[0])
        elif event == 'os.remove' and args[1] == -1:
            os.remove(args[0])
        elif event == 'fsync':
            self._fsync(args[0])


def install(plan: Plan) -> None:
    """Follow a plan in this process from now on."""
    _Shim(plan).install()


def install_from_environment() -> None:
    """Follow the plan that the environment names, if it does."""
    if VARIABLE in os.environ:
        install(Plan(**json.loads(os.environ[VARIABLE])))
