"""Cores and GPUs are shared among workers, evenly and without taking what is not there."""

import os
from pathlib import Path

import pytest

from synth_detect_ros.compute import core_assignment
from synth_detect_ros.compute.core_assignment import (
    CoreAssignment,
    assign_cores,
    count_gpus,
    default_workers,
    keep_freed_memory,
)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend six cores, of which this process may not use the first two, and no GPU."""
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {7, 2, 3, 4, 5, 6})
    monkeypatch.setattr(core_assignment, 'count_gpus', lambda: 0)
    monkeypatch.delenv('EGL_DEVICE_ID', raising=False)


@pytest.mark.parametrize('workers', range(1, 7))
def test_cores_are_shared_without_overlap_and_none_is_left_idle(workers: int) -> None:
    shares = [own.cores for own in assign_cores(workers)]
    assert len(shares) == workers
    assert sorted(core for share in shares for core in share) == [2, 3, 4, 5, 6, 7]
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_more_workers_than_cores_share_all_of_them() -> None:
    assert [own.cores for own in assign_cores(7)] == [(2, 3, 4, 5, 6, 7)] * 7


def test_without_a_gpu_there_is_a_worker_for_each_core() -> None:
    assert default_workers() == 6
    assert {own.device for own in assign_cores(6)} == {None}


def test_gpus_are_dealt_out_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_assignment, 'count_gpus', lambda: 2)
    assert default_workers() == 2
    assert [own.device for own in assign_cores(5)] == [0, 1, 0, 1, 0]


def test_a_device_that_the_user_chose_is_used_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_assignment, 'count_gpus', lambda: 2)
    monkeypatch.setenv('EGL_DEVICE_ID', '1')
    assert {own.device for own in assign_cores(3)} == {None}


def test_only_device_files_of_gpus_are_counted(tmp_path: Path) -> None:
    assert count_gpus(tmp_path) == 0
    for name in ('nvidia0', 'nvidia1', 'nvidia10', 'nvidiactl', 'nvidia-uvm', 'nvidia', 'null'):
        (tmp_path / name).touch()
    assert count_gpus(tmp_path) == 3
    assert count_gpus(tmp_path / 'none') == 0


def test_an_assignment_binds_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[tuple[int, tuple[int, ...]]] = []
    monkeypatch.setattr(os, 'sched_setaffinity', lambda pid, cores: bound.append((pid, cores)))
    CoreAssignment((3, 4), None).apply()
    assert 'EGL_DEVICE_ID' not in os.environ
    monkeypatch.setenv('EGL_DEVICE_ID', '')  # restored afterwards
    CoreAssignment((5,), 1).apply()
    assert os.environ['EGL_DEVICE_ID'] == '1'
    assert bound == [(0, (3, 4)), (0, (5,))]


def test_memory_is_kept_where_the_allocator_can_and_left_alone_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[int, int]] = []

    class Library:
        """A C library with glibc's call."""

        mallopt = staticmethod(lambda *call: calls.append(call))

    monkeypatch.setattr(core_assignment.ctypes, 'CDLL', lambda name: Library)
    keep_freed_memory()
    assert {parameter for parameter, _ in calls} == {-1, -3}
    monkeypatch.setattr(core_assignment.ctypes, 'CDLL', lambda name: object())
    keep_freed_memory()
    assert len(calls) == 2
