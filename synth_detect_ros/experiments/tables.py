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


def sets_of(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, str]]:
    """Yield camera, labelled set, `bbox` or `segm`, and title of all that was scored."""
    for camera in dict.fromkeys(row['camera'] for row in rows):
        mine = [row for row in rows if row['camera'] == camera]
        for name in dict.fromkeys(name for row in mine for name in row.get('scores', {})):
            for kind, title in (('bbox', 'boxes'), ('segm', 'masks')):
                if any(metrics_of(row, name, kind)['AP'] is not None for row in mine):
                    yield camera, name, kind, f'{camera}, {name}, {title}'


def tables(rows: Sequence[Row]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield title, head and lines of each table: one for each camera and labelled set."""
    head = ['', *TITLES, 'steps', 'minutes', 'trainable']
    for camera, name, kind, title in sets_of(rows):
        mine = [row for row in rows if row['camera'] == camera]
        yield title, head, [_line(row, name, kind) for row in mine]


def metrics_of(row: Row, name: str, kind: str) -> Mapping[str, Any]:
    """Return the metrics of a run on a labelled set, each None where there are none."""
    score = row.get('scores', {}).get(name, {}).get(kind)
    return score or dict.fromkeys(METRICS)


def _line(row: Row, name: str, kind: str) -> list[str]:
    metrics = metrics_of(row, name, kind)
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
    return str(row['cell']) + ''.join(f', {key} {value}' for key, value in row['budget'].items())


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
        for name, score in (row.get('scores') or {'': {}}).items():
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
