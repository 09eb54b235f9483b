#!/usr/bin/env python3
"""Say how large each dependency is: the table in docs/dependencies.md.

    .venv/bin/python tools/dependencies.py

For each line of requirements*.txt: installed version, size of its own files, and size with all
that it needs in turn, which others may need as well.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def requirements(path: Path) -> list[str]:
    """Return the names that a file of requirements asks for, as they stand there."""
    lines = (line.partition('#')[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line).name for line in lines if line]


def canonical(name: str) -> str:
    """Return a name as the index compares it."""
    return re.sub(r'[-_.]+', '-', name).lower()


def with_needed(name: str) -> dict[str, Distribution]:
    """Return a distribution and all that it needs, by name; what is not installed is left out."""
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        name = canonical(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        needed = map(Requirement, found[name].requires or ())
        waiting += [r.name for r in needed if not r.marker or r.marker.evaluate({'extra': ''})]
    return found


def size_mb(installed: Distribution) -> float:
    """Return the size of a distribution's files [MB]."""
    paths = (Path(str(file.locate())) for file in installed.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def main() -> None:
    """Print a table of the dependencies."""
    for path in sorted(ROOT.glob('requirements*.txt')):
        print(f'\n{path.name}\n')
        for name in requirements(path):
            found = with_needed(name)
            if not found:
                print(f'{name:36} not installed')
                continue
            sizes = {key: size_mb(installed) for key, installed in found.items()}
            own, total = sizes[canonical(name)], sum(sizes.values())
            print(f'{name:36} {found[canonical(name)].version:12} {own:8.1f} {total:8.1f} MB')


if __name__ == '__main__':
    main()
