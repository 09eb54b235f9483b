"""The log of a training run: a CSV file for people and scripts, and TensorBoard events."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from synth_detect_ros.errors import StorageError

VALIDATION = ('AP', 'AP50', 'AP75', 'AR100')


class RunLog:
    """Writes `log.csv`, `validation.csv` and TensorBoard events of a run, a context manager.

    Args:
        folder: of the run.
        first_step: rows of later steps, left by an interrupted run, are dropped.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder = folder
        _truncate(folder / 'log.csv', first_step)
        _truncate(folder / 'validation.csv', first_step)
        self._board = SummaryWriter(str(folder / 'tensorboard'), purge_step=first_step or None)

    def __enter__(self) -> RunLog:
        """Return the log itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the TensorBoard file."""
        self._board.close()

    def step(self, step: int, elapsed_s: float, losses: Mapping[str, float], lr: float) -> None:
        """Add the losses of a step: `loss`, the sum, and its parts, the same in each step."""
        row = {'step': step, 'elapsed_s': round(elapsed_s, 2), 'lr': lr, 'loss': losses['loss']}
        row |= losses
        _append(self._folder / 'log.csv', row)
        for name, value in losses.items():
            self._board.add_scalar(f'train/{name}', value, step)
        self._board.add_scalar('train/lr', lr, step)

    def validation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Add the numbers of a validation; nested groups are joined with a slash."""
        for kind in ('bbox', 'segm'):
            group = {k: v for k, v in metrics.get(kind, {}).items() if isinstance(v, float)}
            if not group:
                continue
            row = {'step': step, 'kind': kind, **{name: group.get(name) for name in VALIDATION}}
            _append(self._folder / 'validation.csv', row)
            for name, value in group.items():
                self._board.add_scalar(f'validation/{kind}/{name}', value, step)


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a CSV file; its columns are those of the first row."""
    try:
        with path.open('a+', newline='') as file:
            file.seek(0)
            header = next(csv.reader(file), None)
            writer = csv.DictWriter(file, header or list(row), extrasaction='ignore')
            if header is None:
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise StorageError(f'{path}: cannot be written: {error.strerror}') from error


def _truncate(path: Path, step: int) -> None:
    if not path.is_file():
        return
    lines = path.read_text().splitlines(keepends=True)  # none if the run was killed early
    rows = [(line.partition(',')[0], line) for line in lines[1:]]
    kept = [line for number, line in rows if number.isdigit() and int(number) <= step]
    path.write_text(''.join(lines[:1] + kept))
