"""Read one fuzzed input again, with its traceback: `python -m soak.fuzz KIND NUMBER [FOLDER]`.

`python -m soak.fuzz --count N [--kinds A B]` reads many and lists what went wrong, by place.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from pathlib import Path

from soak.fuzz.pool import Case, read_case, run_cases, write_case
from soak.fuzz.readers import READERS
from soak.fuzz.seeds import make_seeds
from soak.places import CORPUS, SEEDS


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('kind', nargs='?', choices=READERS)
    parser.add_argument('number', nargs='?', type=int)
    parser.add_argument('folder', nargs='?', type=Path)
    parser.add_argument('--count', type=int, default=20, help='inputs of each kind')
    parser.add_argument('--first', type=int, default=0, help='number of the first of them')
    parser.add_argument('--kinds', nargs='*', default=list(READERS))
    parser.add_argument('--jobs', type=int, default=2)
    args = parser.parse_args()
    make_seeds(SEEDS)
    if args.number is None:
        _many(args)
        return
    case = Case(args.kind, args.number)
    folder = args.folder or CORPUS / case.name
    shutil.rmtree(folder, ignore_errors=True)
    write_case(case, SEEDS, folder)
    read_case(case, folder)
    print(f'{folder}: read')


def _many(args: argparse.Namespace) -> None:
    numbers = range(args.first, args.first + args.count)
    cases = [Case(kind, number) for number in numbers for kind in args.kinds]
    places: dict[str, list[str]] = defaultdict(list)
    for case, result in run_cases(cases, SEEDS, args.jobs):
        place = result.split(': ')[0] if result in ('read', 'refused') else f'{result[:150]}'
        head = place if result in ('read', 'refused') else f'{case.kind}: {place.split(": ")[0]}'
        places[head].append(f'{case.kind} {case.number}  {place}')
    for head, found in sorted(places.items(), key=lambda item: len(item[1])):
        print(f'{len(found):6} {head:60} {found[0] if head not in ("read", "refused") else ""}')


if __name__ == '__main__':
    main()
