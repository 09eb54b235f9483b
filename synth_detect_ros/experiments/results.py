"""The results of an experiment: what is known of each run, as JSON, CSV, Markdown and tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth_detect_ros.evaluation.metrics import METRICS, number
from synth_detect_ros.experiments.grid import Grid
from synth_detect_ros.files import make_folder, write_atomic

TITLES = ('mAP', 'mAP@.5', 'mAP@.75', 'AR@100')
KINDS = {'bbox': 'boxes', 'segm': 'masks'}

# What is known of a run, see `experiment.result_of`.
RunResult = Mapping[str, Any]


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one camera's runs on one labelled set.

    Attributes:
        title: camera, set, and what is scored.
        name: of the labelled set.
        kind: 'bbox' or 'segm'.
        results: runs of the camera, also those without scores.
    """

    title: str
    name: str
    kind: str
    results: Sequence[RunResult]

    head = ('', *TITLES, 'steps', 'minutes', 'trainable')

    def lines(self) -> list[list[str]]:
        """Return a line of text for each run."""
        return [self._line(result) for result in self.results]

    def metrics(self, result: RunResult) -> Mapping[str, Any]:
        """Return the metrics of a run, each None where there are none."""
        score = result.get('scores', {}).get(self.name, {}).get(self.kind)
        return score or dict.fromkeys(METRICS)

    def _line(self, result: RunResult) -> list[str]:
        metrics = self.metrics(result)
        seconds, trainable = result.get('seconds'), result.get('trainable')
        return [
            run_title(result),
            *(number(metrics[key]) for key in METRICS),
            number(result.get('steps'), 0),
            number(seconds and seconds / 60, 1),
            f'{trainable / 1e6:.2f} M' if trainable else '-',
        ]


def score_tables(results: Sequence[RunResult]) -> Iterator[ScoreTable]:
    """Yield a table for each camera, labelled set and kind that anything was scored for."""
    for camera in dict.fromkeys(result['camera'] for result in results):
        mine = [result for result in results if result['camera'] == camera]
        for name in dict.fromkeys(name for row in mine for name in row.get('scores', {})):
            for kind, what in KINDS.items():
                table = ScoreTable(f'{camera}, {name}, {what}', name, kind, mine)
                if any(table.metrics(result)['AP'] is not None for result in mine):
                    yield table


def run_title(result: RunResult) -> str:
    """Return the name of a run in its table."""
    budget = ''.join(f', {key} {value}' for key, value in result['budget'].items())
    return f'{result["cell"]}{budget}'


def failures(results: Sequence[RunResult]) -> list[tuple[str, str]]:
    """Return name and error of the runs that failed."""
    failed = [result for result in results if result['error']]
    return [(f'{result["camera"]}, {run_title(result)}', result['error']) for result in failed]


def write_results(grid: Grid, results: Sequence[RunResult], superseded: str, folder: Path) -> None:
    """Write results.json, results.csv and results.md.

    Args:
        grid: that was run.
        results: of its runs.
        superseded: a sentence about older runs that do not count; '' where there are none.
        folder: of the results.
    """
    make_folder(folder)
    content = {'title': grid.title, 'note': grid.note, 'rows': results}
    write_atomic(folder / 'results.json', (json.dumps(content, indent=2) + '\n').encode())
    write_atomic(folder / 'results.csv', _csv(results).encode())
    write_atomic(folder / 'results.md', _markdown(grid, results, superseded).encode())


def _csv(results: Sequence[RunResult]) -> str:
    text, facts = io.StringIO(), ('steps', 'seconds', 'trainable', 'error')
    writer = csv.writer(text)
    writer.writerow(['camera', 'cell', 'set', 'kind', *METRICS, *facts])
    for result in results:
        scored = [
            (name, kind, score[kind])
            for name, score in result.get('scores', {}).items()
            for kind in KINDS
            if kind in score
        ]
        for name, kind, metrics in scored or [('', '', {})]:
            values = [*map(metrics.get, METRICS), *map(result.get, facts)]
            writer.writerow([result['camera'], run_title(result), name, kind, *values])
    return text.getvalue()


def _markdown(grid: Grid, results: Sequence[RunResult], superseded: str) -> str:
    lines = [f'# {grid.title}', '', grid.note, '']
    for table in score_tables(results):
        rule = ['---', *['---:'] * (len(table.head) - 1)]
        lines += [f'## {table.title}', '']
        lines += [f'| {" | ".join(cells)} |' for cells in (table.head, rule, *table.lines())]
        lines.append('')
    if failed := failures(results):
        lines += ['## Failed', '', *(f'- {title}: {error}' for title, error in failed), '']
    if superseded:
        lines += ['## Not counted', '', superseded, '']
    return '\n'.join(lines)
