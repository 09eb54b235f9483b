"""The results of an experiment as files: JSON with everything, CSV, and Markdown for documents."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synth_detect_ros.dataset.files import write_atomic
from synth_detect_ros.experiments.grid import Grid

METRICS = ('AP', 'AP50', 'AP75', 'AR100')
TITLES = ('mAP', 'mAP@.5', 'mAP@.75', 'AR@100')
Row = Mapping[str, Any]


def write_results(grid: Grid, rows: Sequence[Row], folder: Path) -> None:
    """Write results.json, results.csv and results.md of a grid.

    Args:
        grid: that was run.
        rows: what is known of each run.
        folder: of the results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {'title': grid.title, 'note': grid.note, 'rows': rows}
    write_atomic(folder / 'results.json', (json.dumps(content, indent=2) + '\n').encode())
    write_atomic(folder / 'results.csv', _csv(rows).encode())
    write_atomic(folder / 'results.md', _markdown(grid, rows).encode())


def tables(rows: Sequence[Row]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield title, head and lines of each table: one for each camera and labelled set."""
    for camera in dict.fromkeys(row['camera'] for row in rows):
        mine = [row for row in rows if row['camera'] == camera]
        sets = dict.fromkeys(name for row in mine for name in row.get('scores', {}))
        for name in sets:
            for kind, title in (('bbox', 'boxes'), ('segm', 'masks')):
                if any(_metrics(row, name, kind)['AP'] is not None for row in mine):
                    head = ['', *TITLES, 'steps', 'minutes', 'trainable']
                    yield f'{camera}, {name}, {title}', head, [_line(r, name, kind) for r in mine]


def _metrics(row: Row, name: str, kind: str) -> Mapping[str, Any]:
    score = row.get('scores', {}).get(name, {}).get(kind)
    return score or dict.fromkeys(METRICS)


def _line(row: Row, name: str, kind: str) -> list[str]:
    metrics = _metrics(row, name, kind)
    values = [number(metrics[key], 3) for key in METRICS]
    seconds, trainable = row.get('seconds'), row.get('trainable')
    facts = [
        number(row.get('steps'), 0),
        number(seconds and seconds / 60, 1),
        number(trainable and trainable / 1e6, 2) + (' M' if trainable else ''),
    ]
    return [row_title(row), *values, *facts]


def row_title(row: Row) -> str:
    """Return the name of a run in its table."""
    known = ('camera', 'cell', 'error', 'folder')
    budget = [(k, v) for k, v in row.items() if k in ('time_limit_s', 'steps') and k not in known]
    return row['cell'] + ''.join(f', {value:g} s' for k, value in budget if k == 'time_limit_s')


def number(value: float | None, digits: int) -> str:
    """Return a number as text, a dash for none."""
    return '-' if value is None else f'{value:.{digits}f}'


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ['camera', 'cell', 'set', 'kind', *METRICS, 'steps', 'seconds', 'trainable', 'error']
    )
    for row in rows:
        facts = [row.get(key) for key in ('steps', 'seconds', 'trainable', 'error')]
        for name, score in row.get('scores', {'': {}}).items():
            for kind in ('bbox', 'segm'):
                if kind in score or not name:
                    values = [score.get(kind, {}).get(key) for key in METRICS]
                    writer.writerow([row['camera'], row_title(row), name, kind, *values, *facts])
    return text.getvalue()


def _markdown(grid: Grid, rows: Sequence[Row]) -> str:
    lines = [f'# {grid.title}', '', grid.note, '']
    for title, head, body in tables(rows):
        rule = ['---', *['---:'] * (len(head) - 1)]
        lines += [f'## {title}', '']
        lines += [f'| {" | ".join(cells)} |' for cells in (head, rule, *body)]
        lines.append('')
    failed = [
        f'- {row["camera"]}, {row_title(row)}: {row["error"]}' for row in rows if row['error']
    ]
    return '\n'.join([*lines, *(['## Failed', ''] if failed else []), *failed]) + '\n'
