"""The feature cache on disk: whole entries only, nothing used wrongly, no surprise when full."""

import multiprocessing
import os
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from synth_detect_ros.errors import StorageError
from synth_detect_ros.training import feature_cache
from synth_detect_ros.training.feature_cache import FeatureCache

SHAPES = ((2, 3, 4), (5, 1, 2))
ENTRIES = 4


def opened(folder, dtype=torch.float16):
    return FeatureCache(folder, SHAPES, dtype, ENTRIES)


def present(cache):
    return [entry for entry in range(ENTRIES) if entry in cache]


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((1, *shape), generator=generator) for shape in SHAPES]


def same(found, expected):
    pairs = zip(found, expected, strict=True)
    return all(torch.equal(a, b[0].to(a.dtype)) for a, b in pairs)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_entry_comes_back_in_the_precision_of_the_disk(tmp_path, dtype):
    cache = opened(tmp_path, dtype)
    assert present(cache) == []
    cache.put(2, maps())
    assert present(cache) == [2]
    assert [m.dtype for m in cache.get(2)] == [dtype, dtype]
    assert same(cache.get(2), maps())


def test_runs_that_share_a_cache_see_the_entries_of_each_other(tmp_path):
    first, second = opened(tmp_path), opened(tmp_path)
    first.put(0, maps(0))
    second.put(2, maps(2))
    for cache in (first, second, opened(tmp_path)):
        assert present(cache) == [0, 2]
        assert same(cache.get(0), maps(0)) and same(cache.get(2), maps(2))


def fill(folder: Path, dies_at: int | None) -> None:
    """Put all entries again and again; die where the data of one are written but not flushed."""
    cache = opened(folder)
    for _ in range(20):
        for entry in range(ENTRIES):
            if entry == dies_at:
                os.fsync = lambda _: os._exit(9)
            cache.put(entry, maps(entry))


@pytest.mark.parametrize('dies_at', [None, 2])
def test_processes_that_write_at_once_leave_whole_entries(tmp_path, dies_at):
    context = multiprocessing.get_context('spawn')
    writers = [context.Process(target=fill, args=(tmp_path, dies_at)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0 if dies_at is None else 9] * 2
    cache = opened(tmp_path)
    assert present(cache) == list(range(ENTRIES if dies_at is None else dies_at))
    assert all(same(cache.get(entry), maps(entry)) for entry in present(cache))


def test_entry_has_its_name_only_after_its_data_are_on_the_disk(tmp_path, monkeypatch):
    cache, seen = opened(tmp_path), []
    monkeypatch.setattr(os, 'fsync', lambda _: seen.append(present(cache)))
    cache.put(1, maps())
    assert seen == [[], [1]]  # its data, then its name
    assert present(cache) == [1]


def test_cut_off_entry_is_made_again(tmp_path):
    cache = opened(tmp_path)
    cache.put(1, maps())
    os.truncate(next(tmp_path.glob('*1.features')), 10)
    assert present(cache) == []
    cache.put(1, maps())
    assert same(cache.get(1), maps())


def test_disk_that_cannot_hold_it_is_refused_with_numbers(tmp_path, monkeypatch, caplog):
    usage = namedtuple('usage', 'total used free')(10**9, 0, 10**8)
    monkeypatch.setattr(feature_cache.shutil, 'disk_usage', lambda _: usage)
    with (
        caplog.at_level('INFO', feature_cache.__name__),
        pytest.raises(StorageError, match=r'needs 2\.0 GB, but 0\.1 GB are free\. Make room'),
    ):
        FeatureCache(tmp_path / 'cache', ((1000, 1000),), torch.float16, 1000)
    assert '1000 entries of 2.00 MB, 2.00 GB, 1000 to be computed' in caplog.text


def test_disk_that_fills_up_is_named(tmp_path, full_disk):
    cache = opened(tmp_path)
    full_disk()
    with pytest.raises(StorageError, match=r'00000\.features cannot be written \(No space'):
        cache.put(0, maps())
    assert not list(tmp_path.iterdir())
