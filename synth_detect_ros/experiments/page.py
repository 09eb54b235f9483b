"""The page of an experiment: tables, plots and pictures in one file that needs no other."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from synth_detect_ros.dataset.files import write_atomic
from synth_detect_ros.dataset.loader import read_image
from synth_detect_ros.experiments.grid import Grid
from synth_detect_ros.experiments.plan import slug
from synth_detect_ros.experiments.tables import Row, metrics_of, row_title, sets_of, tables
from synth_detect_ros.report.html import bars, curves, gallery, page, section, table, titled

Points = dict[str, tuple[list[float], list[float]]]


def write_page(grid: Grid, rows: Sequence[Row], folder: Path) -> None:
    """Write index.html.

    Args:
        grid: that was run.
        rows: what is known of each run.
        folder: of the results.
    """
    machines = dict.fromkeys(_machine(row) for row in rows if 'threads' in row)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    lead = f'{grid.note.strip()} Made by: {command}. {"; ".join(machines)}'
    body = [
        section(
            k,
            title,
            '',
            table(head, lines),
            *(titled(*plot) for plot in _plots(grid, rows, title).values()),
        )
        for k, (title, head, lines) in enumerate(tables(rows), start=1)
    ]
    body += [section(len(body) + 1, 'Worst frames', '', *_pictures(rows))] if grid.overlays else []
    failed = [(f'{row["camera"]}, {row_title(row)}', row['error']) for row in rows if row['error']]
    if failed:
        body.append(section(len(body) + 1, 'Failed', '', table(('run', 'error'), failed)))
    write_atomic(folder / 'index.html', page(grid.title, lead, body).encode())


def _machine(row: Row) -> str:
    """Return what a run was computed on."""
    gpu = f' and {row["gpu"]}' if 'gpu' in row else ''
    return f'{row["threads"]} of {row["cores"]} cores of {row["cpu"]}{gpu}'


def write_plots(grid: Grid, rows: Sequence[Row], folder: Path) -> None:
    """Write each plot of the page as a file of its own, for documents: plots/<what>.svg."""
    for title, _, _ in tables(rows):
        for name, (_, svg) in _plots(grid, rows, title).items():
            (folder / 'plots').mkdir(exist_ok=True)
            write_atomic(folder / 'plots' / f'{slug(f"{title} {name}")}.svg', svg.encode())


def _plots(grid: Grid, rows: Sequence[Row], title: str) -> dict[str, tuple[str, str]]:
    """Return the plots that belong to the table of a title: heading and SVG by name."""
    plots: dict[str, tuple[str, str]] = {}
    for camera, name, kind, caption in sets_of(rows):
        mine = [row for row in rows if row['camera'] == camera]
        if caption != title:
            continue
        if grid.plot == 'bars':
            values = {row_title(row): metrics_of(row, name, kind)['AP50'] for row in mine}
            plots['bars'] = 'mAP@.5', bars(values, 'mAP@.5')
        elif grid.plot == 'curve':
            for key, unit, scale in (('seconds', 'minutes', 60), ('steps', 'steps', 1)):
                points = _points(mine, name, kind, key, scale)
                if points:
                    text = f'mAP@.5 over {unit}, one training a point'
                    plots[unit] = text, curves(points, unit, text, top=1.0)
    return plots


def _points(rows: Sequence[Row], name: str, kind: str, key: str, scale: float) -> Points:
    """Return the points of each cell in ascending order, over wall time or steps."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        score = metrics_of(row, name, kind)['AP50']
        if score is not None:
            points.setdefault(row['cell'], []).append((row[key] / scale, score))
    return {
        cell: ([x for x, _ in sorted(pairs)], [y for _, y in sorted(pairs)])
        for cell, pairs in points.items()
    }


def _pictures(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        for name, folder in row.get('overlays', {}).items():
            files = sorted(Path(folder).glob('*.jpg'))
            pictures = [(path.stem, read_image(path)) for path in files]
            if pictures:
                yield gallery(pictures, 3, 420, f'{row["camera"]}, {name}: {row_title(row)}')
