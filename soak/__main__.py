"""Try what the package promises: `python -m soak`, or `make soak`.

Tries that were made are in build/soak/results.jsonl and are not made again as long as the code is
the same. Status 1: something did not hold.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import sys

from soak.matrix import Results, run_row, table
from soak.processes import adopt_orphans
from soak.rows import ROWS
from synth_detect_ros.experiments.processes import machine


def main() -> int:
    """See the module."""
    names = [row.name.replace(' ', '-') for row in ROWS]
    parser = argparse.ArgumentParser(prog='soak', description=__doc__.split('\n')[0])
    parser.add_argument('--only', nargs='+', choices=names, help='rows; default: all')
    parser.add_argument('--tries', type=int, help='of each row; default: those of a whole soak')
    parser.add_argument('--short', action='store_true', help='some tries of each row')
    parser.add_argument(
        '--minutes', type=float, default=float(os.environ.get('SOAK_MINUTES') or math.inf),
        help='for all rows together; default: $SOAK_MINUTES, or as long as it takes',
    )  # fmt: skip
    args = parser.parse_args()
    rows = [row for row in ROWS if not args.only or row.name.replace(' ', '-') in args.only]
    results = Results()
    adopt_orphans()
    for row in rows:
        count = args.tries or (row.short if args.short else row.full)
        run_row(
            row,
            results,
            count,
            60 * args.minutes / len(rows),
            lambda text: print(text, flush=True),
        )
    facts = ', '.join(f'{key} {value}' for key, value in machine().items())
    print(f'{datetime.date.today()}, {facts}, code {results.code}\n')
    print(table(rows, results))
    return int(any(not entry['held'] for row in rows for entry in results.of(row).values()))


if __name__ == '__main__':
    sys.exit(main())
