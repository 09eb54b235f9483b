#!/usr/bin/env python3
"""Say which figures in the documents are older than the code that they measure.

    python tools/figures.py            list them
    python tools/figures.py --strict   exit status 1 when one is

A table or a sentence with measured figures is preceded by an HTML comment in one line that names
the commit it was measured on, the files it measures, and the command that made it:

    <!-- measured: 1a2b3c4; demo synth_detect_ros; make demo -->
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = re.compile(r'<!-- measured: ([0-9a-f]{7,40}); ([^;]+); (.+?) -->')


@dataclass(frozen=True)
class Figure:
    """Something measured.

    Attributes:
        place: document and line.
        commit: it was measured on.
        code: files and folders that it measures.
        command: that made it.
    """

    place: str
    commit: str
    code: tuple[str, ...]
    command: str


def read_figures(document: Path) -> Iterator[Figure]:
    """Yield the figures of a document.

    Raises:
        ValueError: a comment that begins like one of these is not one.
    """
    for number, line in enumerate(document.read_text().splitlines(), start=1):
        if not line.lstrip().startswith('<!-- measured'):
            continue
        match, place = MARK.fullmatch(line.strip()), f'{document.relative_to(ROOT)}:{number}'
        if match is None:
            raise ValueError(f'{place}: wanted <!-- measured: COMMIT; FILES; COMMAND -->')
        yield Figure(place, match[1], tuple(match[2].split()), match[3])


def commits_since(figure: Figure) -> int:
    """Return how many commits have changed what a figure measures; uncommitted changes are one.

    Raises:
        ValueError: one of the files is not there, or the commit is none of this branch.
    """
    gone = [path for path in figure.code if not (ROOT / path).exists()]
    if gone:
        raise ValueError(f'{figure.place}: there is no {gone[0]}')
    if git('merge-base', '--is-ancestor', figure.commit, 'HEAD') is None:
        raise ValueError(
            f'{figure.place}: there is no commit {figure.commit} before this one (a shallow clone '
            'lacks old ones: git fetch --unshallow)'
        )
    count = git('rev-list', '--count', f'{figure.commit}..HEAD', '--', *figure.code)
    changed = git('status', '--porcelain', '--untracked-files=no', '--', *figure.code)
    return int(count or 0) + bool(changed)


def git(*words: str) -> str | None:
    """Return what a git command prints; None when it fails."""
    command = ['git', *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


def main() -> int:
    """Print all figures; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--strict', action='store_true', help='exit status 1 when one is older')
    arguments, stale = parser.parse_args(), 0
    for document in (ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))):
        for figure in read_figures(document):
            count = commits_since(figure)
            stale += count > 0
            age = f'{count} commits of {" ".join(figure.code)} later' if count else 'up to date'
            print(f'{figure.place}: {figure.commit}, {age}: {figure.command}')
    return int(arguments.strict and stale > 0)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(str(error))
