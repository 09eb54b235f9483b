"""Memory that is left, as the kernel tells it."""

import ctypes
import subprocess
import sys

import pytest

from synth_detect_ros.compute import memory
from synth_detect_ros.compute.memory import available_memory

INFO = 'MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   2000 kB\n'


@pytest.mark.parametrize(
    ('files', 'left'),
    [
        ({}, None),
        ({'info': 'MemTotal: 3 kB\n'}, None),
        ({'info': INFO}, 2_048_000),
        ({'info': INFO, 'memory.max': 'max\n', 'memory.current': '5\n'}, 2_048_000),
        ({'info': INFO, 'memory.max': '1000\n', 'memory.current': '400\n'}, 600),
        ({'memory.max': '1000\n', 'memory.current': '1200\n'}, 0),
        ({'info': INFO, 'memory.max': '1000\n'}, 2_048_000),
    ],
)
def test_least_of_machine_and_container_counts(tmp_path, monkeypatch, files, left):
    monkeypatch.setattr(memory, 'MEMINFO', tmp_path / 'info')
    monkeypatch.setattr(memory, 'GROUP', tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_memory() == left


def test_this_machine_tells():
    assert available_memory() > 0


FILL = """
from pathlib import Path
from synth_detect_ros.compute.memory import give_back_memory
def resident():
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096
# Smaller than what the allocator maps by itself, with one in use on top of all.
blocks = [b'x' * (100_000 + number) for number in range(1001)]
top = blocks.pop()
blocks.clear()
before = resident()
give_back_memory()
print(before - resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'malloc_trim'), reason='only glibc keeps it')
def test_memory_below_a_block_in_use_is_given_back():
    done = subprocess.run([sys.executable, '-c', FILL], check=True, capture_output=True, text=True)
    assert int(done.stdout) > 90_000_000
