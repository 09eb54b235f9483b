"""The page of an experiment, tables, plots and pictures in one file, and the plots alone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from synth_detect_ros.experiments.grid import Grid
from synth_detect_ros.experiments.plan import slug
from synth_detect_ros.experiments.results import (
    RunResult,
    ScoreTable,
    failures,
    run_title,
    score_tables,
)
from synth_detect_ros.files import make_folder, read_image, write_atomic
from synth_detect_ros.report.pages import TEMPLATES, Picture, render_page
from synth_detect_ros.report.plots import bars, curves


def write_page(grid: Grid, results: Sequence[RunResult], superseded: str, folder: Path) -> None:
    """Write index.html, and each of its plots as plots/<what>.svg for documents.

    Args:
        grid: that was run.
        results: of its runs.
        superseded: a sentence about older runs that do not count; '' where there are none.
        folder: of the results.
    """
    tables = [(table, _plots(grid, table)) for table in score_tables(results)]
    for table, plots in tables:
        for name, (_, svg) in plots.items():
            make_folder(folder / 'plots')
            file = folder / 'plots' / f'{slug(f"{table.title} {name}")}.svg'
            write_atomic(file, svg.encode())
    page = render_page(
        TEMPLATES / 'experiment.html.j2',
        title=grid.title,
        note=grid.note,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        machines=dict.fromkeys(_machine(result) for result in results if 'threads' in result),
        tables=tables,
        pictures=list(_pictures(results)),
        failed=failures(results),
        superseded=superseded,
    )
    write_atomic(folder / 'index.html', page)


def _machine(result: RunResult) -> str:
    """Return what a run was computed on."""
    gpu = f' and {result["gpu"]}' if 'gpu' in result else ''
    return f'{result["threads"]} of {result["cores"]} cores of {result["cpu"]}{gpu}'


def _plots(grid: Grid, table: ScoreTable) -> dict[str, tuple[str, str]]:
    """Return the plots of a table: title and SVG by name."""
    if grid.plot == 'bars':
        values = {run_title(result): table.metrics(result)['AP50'] for result in table.results}
        return {'bars': ('mAP@.5', bars(values, 'mAP@.5'))}
    plots = {}
    if grid.plot == 'curve':
        for key, unit, scale in (('seconds', 'minutes', 60), ('steps', 'steps', 1)):
            title = f'mAP@.5 over {unit}, one training a point'
            plots[unit] = title, curves(_points(table, key, scale), unit, title, top=1.0)
    return plots


def _points(
    table: ScoreTable, key: str, scale: float
) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """Return x and y of each cell's runs in ascending order, over wall time or steps."""
    points: dict[str, list[tuple[float, float]]] = {}
    for result in table.results:
        score = table.metrics(result)['AP50']
        if score is not None:
            points.setdefault(result['cell'], []).append((result[key] / scale, score))
    return {
        cell: ([x for x, _ in sorted(pairs)], [y for _, y in sorted(pairs)])
        for cell, pairs in points.items()
    }


def _pictures(results: Sequence[RunResult]) -> Iterator[tuple[str, list[Picture]]]:
    """Yield title and pictures of the worst frames of each run, where there are some."""
    for result in results:
        for name, folder in result.get('overlays', {}).items():
            frames = [(path.stem, read_image(path)) for path in sorted(Path(folder).glob('*.jpg'))]
            if frames:
                yield f'{result["camera"]}, {name}: {run_title(result)}', frames
