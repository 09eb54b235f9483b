"""Running the package's commands and nodes as a user would, each with a log of its own."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

# Lines of a failed node's log that are shown.
TAIL = 30


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class MissingError(DemoError):
    """Real frames, models or weights are not where they should be."""


def environment(out: Path) -> dict[str, str]:
    """Return the environment of all commands: this Python's scripts and a ROS graph of its own."""
    env = dict(os.environ, PYTHONUNBUFFERED='1', ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST')
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env.get("PATH", "")}'
    # Of the decoder behind OpenCV: it complains about the demo's video and decodes all the same.
    env.setdefault('OPENCV_FFMPEG_LOGLEVEL', '8')
    env['ROS_LOG_DIR'] = str(out / 'logs' / 'ros')
    env.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    return env


class Runner:
    """Runs commands; keeps their text for the page.

    Args:
        out: folder of the demo; logs go to `out/logs`.
        names: what a path is called on the page, for example {'/home/me/data': '$DATA'}.
    """

    def __init__(self, out: Path, names: dict[str, str]) -> None:
        self.commands: list[str] = []
        self._logs = out / 'logs'
        self._logs.mkdir(parents=True, exist_ok=True)
        self._env = environment(out)
        self._names = names
        self._background: list[subprocess.Popen] = []

    def run(self, log: str, command: Sequence[object], timeout_s: float) -> None:
        """Run a command to its end, its output in view and in `logs/<log>.log`.

        Raises:
            DemoError: it failed or took longer than `timeout_s`.
        """
        path = self._logs / f'{log}.log'
        process = self._start(command, subprocess.PIPE)
        timer, done = threading.Timer(timeout_s, process.kill), threading.Event()
        watch = threading.Thread(target=self._watch, args=(process, done))
        timer.start()
        watch.start()
        try:
            with path.open('w') as file:
                for line in process.stdout:  # a progress bar's carriage return ends a line, too
                    file.write(line)
                    if line.strip():
                        print('    ' + line.rstrip(), flush=True)
            process.wait()
        finally:
            late = not timer.is_alive()
            timer.cancel()
            done.set()
            watch.join()
            _end(process)
            process.stdout.close()
        if process.returncode != 0:
            why = f'took longer than {timeout_s:.0f} s' if late else 'failed'
            raise DemoError(f'{command[0]} {why} (status {process.returncode}). Its log: {path}')

    def _watch(self, process: subprocess.Popen, done: threading.Event) -> None:
        """End a command that would wait for ever: a node that it needs has failed."""
        while not done.wait(1.0):
            if any(other.poll() for other in self._background):
                process.send_signal(signal.SIGINT)
                return

    @contextlib.contextmanager
    def background(self, log: str, command: Sequence[object]) -> Iterator[None]:
        """Keep a node running, output in `logs/<log>.log`; on leaving end it as Ctrl-C would.

        Raises:
            DemoError: it ended with an error before that.
        """
        path = self._logs / f'{log}.log'
        with path.open('wb') as file:
            process = self._start(command, file)
            self._background.append(process)
            failed: DemoError | None = None
            try:
                yield
            except DemoError as error:
                failed = error
            finally:
                early = process.poll()
                self._background.remove(process)
                _end(process)
        if failed and not early:
            raise failed
        if early:
            tail = '\n'.join(path.read_text(errors='replace').splitlines()[-TAIL:])
            raise DemoError(f'{command[0]} ended with status {early}:\n{tail}')

    def _start(self, command: Sequence[object], output: object) -> subprocess.Popen:
        words = [str(word) for word in command]
        text = shlex.join(words)
        for path, name in self._names.items():
            text = text.replace(path, name)
        self.commands.append(text)
        print(f'    $ {text}', flush=True)
        # A session of its own: Ctrl-C reaches it through `_end` only, once.
        return subprocess.Popen(
            words,
            env=self._env,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            start_new_session=True,
        )


def _end(process: subprocess.Popen, patience_s: float = 20.0) -> None:
    """Interrupt a process that still runs; kill it when that does not help."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
