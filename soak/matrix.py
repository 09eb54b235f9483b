"""The matrix: what is promised, how often it is tried, and what came of it so far."""

from __future__ import annotations

import datetime
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soak.places import OUT, RESULTS, ROOT

Tries = Callable[[Iterable[int], Path], Iterator[tuple[int, str]]]


@dataclass(frozen=True)
class Row:
    """A promise and how it is tried.

    Attributes:
        name: for `--only`.
        promise: what must hold.
        tries: takes numbers of tries and a folder, yields each number and what did not hold.
        full: tries of a whole soak.
        short: tries of the short form.
    """

    name: str
    promise: str
    tries: Tries
    full: int
    short: int


def one_by_one(attempt: Callable[[int, Path], str]) -> Tries:
    """Make the tries of a row of a function that does one."""

    def tries(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
        for number in numbers:
            yield number, attempt(number, folder)

    return tries


class Results:
    """Results of tries in a file that only grows; those of other code do not count.

    Args:
        path: of the file, JSON lines.
    """

    def __init__(self, path: Path = RESULTS) -> None:
        self._path, self.code = path, code()

    def add(self, row: Row, number: int, why: str, seconds: float) -> None:
        """Note a try."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
        facts = {'row': row.name, 'try': number, 'held': not why, 'why': why}
        line = json.dumps({**facts, 'seconds': round(seconds, 2), 'code': self.code, 'date': now})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open('a') as file:
            file.write(line + '\n')

    def of(self, row: Row) -> dict[int, dict[str, Any]]:
        """Return the tries of a row by number, the last of each."""
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        found: dict[int, dict[str, Any]] = {}
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # cut off when a soak was killed
                continue
            if entry['row'] == row.name and entry['code'] == self.code:
                found[entry['try']] = entry
        return found


def code() -> str:
    """Return a short name of the package and the soak as they are now."""
    digest = hashlib.sha256()
    for folder in ('synth_detect_ros', 'soak'):
        for path in sorted((ROOT / folder).rglob('*.py')):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def run_row(
    row: Row, results: Results, count: int, seconds: float, report: Callable[[str], None]
) -> None:
    """Make the tries of a row that are missing, as long as there is time."""
    made = results.of(row)
    missing = [number for number in range(count) if number not in made]
    folder = OUT / 'rows' / row.name.replace(' ', '_')
    folder.mkdir(parents=True, exist_ok=True)
    end, start, last = time.monotonic() + seconds, time.monotonic(), time.monotonic()
    with closing(row.tries(missing, folder)) as tries:
        for done, (number, why) in enumerate(tries, start=1):
            now = time.monotonic()
            results.add(row, number, why, now - last)
            last = now
            if why:
                report(f'{row.name} {number}: {why}')
            if now > end:
                report(f'{row.name}: time is up after {done} of {len(missing)} tries')
                break
    report(f'{row.name}: {time.monotonic() - start:.0f} s')


def table(rows: Iterable[Row], results: Results) -> str:
    """Return promise, tries and how many held, as Markdown."""
    lines = ['| promise | tries | held |', '| --- | ---: | ---: |']
    for row in rows:
        found = results.of(row).values()
        held = sum(entry['held'] for entry in found)
        lines.append(f'| {row.promise} | {len(found)} | {held} |')
    return '\n'.join(lines)
