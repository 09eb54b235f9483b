"""The fuzzer: its seeds are read, its cases are the same again, what goes wrong is noticed."""

import os
import shutil
import signal
import time
from random import Random

import pytest

from soak.fuzz import pool
from soak.fuzz.pool import Case, outcome, run_cases, write_case
from soak.fuzz.readers import READERS
from soak.fuzz.seeds import MAKERS, make_seeds
from soak.fuzz.values import mutate_tree


@pytest.fixture(scope='module')
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp('seeds')
    make_seeds(folder)
    return folder


def test_every_seed_has_a_reader() -> None:
    assert {make.__name__ for make in MAKERS} == set(READERS)


@pytest.mark.ros
@pytest.mark.parametrize('kind', READERS)
def test_seed_is_read_by_all_its_readers(kind, seeds, tmp_path) -> None:
    for number in range(8):
        shutil.copytree(seeds / kind, tmp_path / str(number))
        READERS[kind](tmp_path / str(number), Random(number))


def test_case_is_the_same_again_and_others_differ(seeds, tmp_path) -> None:
    contents = []
    for name, number in (('a', 5), ('b', 5), ('c', 6)):
        write_case(Case('camera', number), seeds, tmp_path / name)
        contents.append((tmp_path / name / 'camera.yaml').read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_change_of_a_tree_leaves_the_original() -> None:
    tree = {'a': [1, {'b': 2}]}
    changed = [mutate_tree(tree, Random(seed)) for seed in range(50)]
    assert tree == {'a': [1, {'b': 2}]} and sum(c == tree for c in changed) < 10


def crash(folder, rng):
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(folder, rng):
    time.sleep(60)


def grow(folder, rng):
    bytearray(3 << 30)


@pytest.mark.parametrize(
    ('reader', 'found'),
    [
        (crash, f'killed by signal {int(signal.SIGSEGV)}'),
        (hang, 'more than 0.1 s'),
        (grow, 'MemoryError'),
        (lambda folder, rng: {}['x'], 'KeyError'),
        (lambda folder, rng: (folder / 'gone').read_text(), 'refused'),
        (lambda folder, rng: None, 'read'),
    ],
)
def test_what_comes_out_is_noticed(reader, found, seeds, monkeypatch) -> None:
    monkeypatch.setitem(READERS, 'camera', reader)
    monkeypatch.setattr(pool, 'SECONDS', 0.1 if reader is hang else 20.0)
    results = dict(run_cases([Case('camera', n) for n in range(2)], seeds, 2))
    assert len(results) == 2 and all(found in result for result in results.values())


def test_outcome_of_a_case(seeds, tmp_path) -> None:
    assert outcome(Case('camera', 0), seeds, tmp_path / 'case') in ('read', 'refused')
