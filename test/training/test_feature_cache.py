"""The feature cache on disk: whole entries, nothing used wrongly, no surprise on a full disk."""

import errno
import os
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from synth_detect_ros.errors import StorageError
from synth_detect_ros.training import feature_cache
from synth_detect_ros.training.feature_cache import FeatureCache, Layout, cache_key

LAYOUT = Layout(shapes=((2, 3, 4), (5, 1, 2)), dtype=torch.float16, entries=4)


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((1, *shape), generator=generator) for shape in LAYOUT.shapes]


def same(found, expected):
    pairs = zip(found, expected, strict=True)
    return all(torch.equal(a, b[0].to(a.dtype)) for a, b in pairs)


def test_size_is_known_before_anything_is_computed():
    assert LAYOUT.entry_bytes == (24 + 10) * 2
    assert LAYOUT.total_bytes == 4 * 68


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_entry_comes_back_in_the_precision_of_the_disk(tmp_path, dtype):
    cache = FeatureCache(tmp_path, Layout(LAYOUT.shapes, dtype, 4))
    assert not cache.ready.any()
    cache.put(2, maps())
    assert cache.ready.tolist() == [False, False, True, False]
    assert [m.dtype for m in cache.get(2)] == [dtype, dtype]
    assert same(cache.get(2), maps())


def test_next_run_finds_what_was_synchronised_and_nothing_else(tmp_path):
    cache = FeatureCache(tmp_path, LAYOUT)
    cache.put(1, maps(1))
    cache.sync()
    cache.put(3, maps(3))  # and then the power fails
    del cache
    again = FeatureCache(tmp_path, LAYOUT)
    assert again.ready.tolist() == [False, True, False, False]
    assert same(again.get(1), maps(1))


def test_caches_opened_at_once_are_one(tmp_path, monkeypatch):
    made = []
    allocate = FeatureCache._allocate

    def slowly(cache):
        made.append(cache)
        time.sleep(0.1)
        allocate(cache)

    monkeypatch.setattr(FeatureCache, '_allocate', slowly)
    with ThreadPoolExecutor(4) as pool:
        caches = list(pool.map(lambda _: FeatureCache(tmp_path, LAYOUT), range(4)))
    caches[0].put(1, maps(1))
    assert len(made) == 1
    assert all(same(cache.get(1), maps(1)) for cache in caches)


def test_runs_that_share_a_cache_keep_the_entries_of_each_other(tmp_path):
    first, second = (FeatureCache(tmp_path, LAYOUT) for _ in range(2))
    first.put(0, maps(0))
    second.put(2, maps(2))
    first.sync()
    second.sync()
    third = FeatureCache(tmp_path, LAYOUT)
    assert third.ready.tolist() == [True, False, True, False]
    assert same(third.get(0), maps(0))
    assert same(third.get(2), maps(2))


def test_cut_off_files_are_made_again(tmp_path):
    cache = FeatureCache(tmp_path, LAYOUT)
    cache.put(1, maps())
    cache.sync()
    os.truncate(tmp_path / 'features.bin', 10)
    assert not FeatureCache(tmp_path, LAYOUT).ready.any()
    assert (tmp_path / 'features.bin').stat().st_size == LAYOUT.total_bytes


def test_disk_that_cannot_hold_it_is_refused_with_numbers(tmp_path, monkeypatch, caplog):
    usage = namedtuple('usage', 'total used free')(10**9, 0, 10**8)
    monkeypatch.setattr(feature_cache.shutil, 'disk_usage', lambda _: usage)
    layout = Layout(((1000, 1000),), torch.float16, 1000)
    with (
        caplog.at_level('INFO', feature_cache.__name__),
        pytest.raises(StorageError, match=r'needs 2\.0 GB, but 0\.1 GB are free\. Make room'),
    ):
        FeatureCache(tmp_path / 'cache', layout)
    assert '1000 entries of 2.00 MB, 2.00 GB' in caplog.text
    assert not (tmp_path / 'cache' / 'features.bin').exists()


def test_disk_that_fills_up_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    cache = FeatureCache(tmp_path / 'a', LAYOUT)
    cache.put(0, maps())
    monkeypatch.setattr(feature_cache.os, 'fsync', full)
    with pytest.raises(StorageError, match=r'ready\.bin: cannot be written: No space'):
        cache.sync()
    assert not FeatureCache(tmp_path / 'a', LAYOUT).ready.any()
    monkeypatch.setattr(feature_cache.os, 'posix_fallocate', full)
    with pytest.raises(StorageError, match=r'features\.bin: cannot be made: No space'):
        FeatureCache(tmp_path / 'b', LAYOUT)


def test_key_changes_with_weights_and_facts():
    weights = {'a': torch.zeros(3)}
    keys = {
        cache_key(weights, {'min_side': 96}),
        cache_key({'a': torch.ones(3)}, {'min_side': 96}),
        cache_key({'b': torch.zeros(3)}, {'min_side': 96}),
        cache_key(weights, {'min_side': 97}),
    }
    assert len(keys) == 4
    assert cache_key({'a': torch.zeros(3)}, {'min_side': 96}) in keys
