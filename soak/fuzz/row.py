"""Fuzzed files as a row of the matrix; what goes wrong is kept in the corpus."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from soak.fuzz.pool import Case, run_cases, write_case
from soak.fuzz.readers import READERS
from soak.fuzz.seeds import make_seeds
from soak.places import CORPUS, SEEDS
from soak.processes import Process

HELD = ('read', 'refused')


def case_of(number: int) -> Case:
    """Return the number-th case: the kinds take turns."""
    kinds = list(READERS)
    return Case(kinds[number % len(kinds)], number // len(kinds))


def fuzzed(numbers: Iterable[int], folder: Path, jobs: int = 2) -> Iterator[tuple[int, str]]:
    """Yield the number of each case and what went wrong, '' for nothing."""
    log = folder / 'seeds.log'
    if Process(lambda: make_seeds(SEEDS), log).wait(300):
        raise RuntimeError(log.read_text())
    kinds = list(READERS)
    for case, result in run_cases(map(case_of, numbers), SEEDS, jobs):
        number = case.number * len(kinds) + kinds.index(case.kind)
        yield number, '' if result in HELD else f'{case.name}: {result}'
        if result not in HELD:
            keep(case, result)


def keep(case: Case, result: str) -> None:
    """Keep a case that went wrong, with the line that reads it again."""
    folder = CORPUS / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_case(case, SEEDS, folder)
    line = f'python -m soak.fuzz {case.kind} {case.number}  # {result}\n'
    (CORPUS / f'{case.name}.txt').write_text(line)
