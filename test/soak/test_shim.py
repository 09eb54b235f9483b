"""The shim: changes are counted over processes, the n-th one is the last."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from soak.processes import Process, children, orphans
from soak.shim import Plan

CHANGES = """
import os, sys, pathlib
root = pathlib.Path(sys.argv[1])
(root / 'a').mkdir()
with (root / 'a' / 'x').open('wb') as file:
    file.write(b'12345678')
    file.flush()
    os.fsync(file.fileno())
(root / 'a' / 'x').rename(root / 'y')
(root / 'a').rmdir()
pathlib.Path(sys.argv[1] + 'elsewhere').touch()
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the changes under a plan, in a fresh interpreter."""
    root = tmp_path / 'root'
    root.mkdir()

    def start(action, number):
        plan = Plan(action, number, str(root), str(tmp_path / 'counter'))
        environment = os.environ | plan.environment()
        command = [sys.executable, '-c', CHANGES, str(root)]
        return subprocess.run(
            command, check=False, env=environment, capture_output=True, text=True
        )

    return start, root


def test_changes_inside_the_folder_are_counted(run, tmp_path) -> None:
    start, root = run
    assert start('count', 0).returncode == 0
    assert (tmp_path / 'counter').stat().st_size == 5
    assert [p.name for p in root.iterdir()] == ['y']


@pytest.mark.parametrize(
    ('action', 'number', 'left'),
    [
        ('before', 1, {}),
        ('after', 1, {'a': None}),
        ('before', 2, {'a': None}),
        ('after', 2, {'a': None, 'a/x': b''}),
        ('torn', 3, {'a': None, 'a/x': b'1234'}),
        ('after', 3, {'a': None, 'a/x': b'12345678'}),
        ('after', 4, {'a': None, 'y': b'12345678'}),
        ('before', 5, {'a': None, 'y': b'12345678'}),
    ],
)
def test_process_dies_at_the_change(run, action, number, left) -> None:
    start, root = run
    assert start(action, number).returncode == -signal.SIGKILL
    found = {
        str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in root.rglob('*')
    }
    assert found == left


@pytest.mark.parametrize('number', [1, 2, 3])
def test_disk_is_full_from_a_change_on(run, number) -> None:
    start, _ = run
    assert 'No space left on device' in start('full', number).stderr


LINES = """
import os, sys
for line in ('1234', '56789'):
    with open(sys.argv[1], 'a') as file:
        print(line, file=file, flush=True)
        os.fsync(file.fileno())
"""


def test_torn_file_keeps_what_was_safe_before(tmp_path) -> None:
    path, plan = tmp_path / 'log', Plan('torn', 4, str(tmp_path), str(tmp_path / 'counter'))
    path.write_text('old\n')
    command = [sys.executable, '-c', LINES, str(path)]
    done = subprocess.run(command, check=False, env=os.environ | plan.environment())
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == 'old\n1234\n567'


def test_orphans_are_found_and_ended(tmp_path: Path) -> None:
    """Like what is called: in a process of its own, which adopts."""
    code = (
        'import os, time\n'
        'from pathlib import Path\n'
        'from soak.processes import Process, adopt_orphans, orphans\n'
        'adopt_orphans()\n'
        'def work():\n'
        '    if not os.fork():\n'
        '        time.sleep(60)\n'
        '    time.sleep(60)\n'
        f'process = Process(work, Path({str(tmp_path / "log")!r}))\n'
        'time.sleep(0.3)\n'
        'assert process.kill() == -9\n'
        'print(len(orphans(grace=0.5)), len(orphans(grace=0)))\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], check=False, capture_output=True, text=True
    )
    assert result.stdout == '1 0\n', result.stderr


def test_process_tells_its_status_and_output(tmp_path: Path) -> None:
    before = tuple(children())  # what other tests keep, such as the tracker of multiprocessing
    process = Process(lambda: sys.stdout.write('hello\n') - 3, tmp_path / 'log')
    assert process.wait(10) == 3 and process.output == 'hello\n'
    crashed = Process(lambda: 1 // 0, tmp_path / 'crash')
    assert crashed.wait(10) == 70 and 'ZeroDivisionError' in crashed.output
    assert orphans(before, grace=0) == []
