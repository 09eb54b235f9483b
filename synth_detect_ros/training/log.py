"""The log of a training run: a CSV file for people and scripts, and TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from synth_detect_ros.errors import StorageError
from synth_detect_ros.files import append_line, not_written, write_atomic

VALIDATION = ('AP', 'AP50', 'AP75', 'AR100')


class RunLog:
    """Writes `log.csv`, `validation.csv` and TensorBoard events of a run, a context manager.

    Args:
        folder: of the run.
        first_step: rows of later steps, left by an interrupted run, are dropped.
        validated: whether that step was validated; otherwise its validation is made again.

    Raises:
        StorageError: something else stands where a file of the log belongs.
    """

    def __init__(self, folder: Path, first_step: int, *, validated: bool) -> None:
        self._folder = folder
        _truncate(folder / 'log.csv', first_step)
        _truncate(folder / 'validation.csv', first_step if validated else first_step - 1)
        self._events = folder / 'tensorboard'
        with _written(self._events):
            self._board = SummaryWriter(str(self._events), purge_step=first_step or None)

    def __enter__(self) -> RunLog:
        """Return the log itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the TensorBoard file."""
        with _written(self._events):
            self._board.close()

    def step(self, step: int, elapsed_s: float, losses: Mapping[str, float], lr: float) -> None:
        """Add the losses of a step: `loss`, the sum, and its parts, the same in each step."""
        row = {'step': step, 'elapsed_s': round(elapsed_s, 2), 'lr': lr, 'loss': losses['loss']}
        row |= losses
        _append(self._folder / 'log.csv', row)
        with _written(self._events):
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
            with _written(self._events):
                for name, value in group.items():
                    self._board.add_scalar(f'validation/{kind}/{name}', value, step)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Say of a file that cannot be written which one it is."""
    try:
        yield
    except OSError as error:
        raise not_written(path, error) from error


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a CSV file; its columns are those of the first row."""
    header, text = None, io.StringIO(newline='')
    if path.is_file():
        with path.open(newline='', errors='replace') as file:
            header = next(csv.reader(file), None)
    writer = csv.DictWriter(text, header or list(row), extrasaction='ignore')
    if header is None:
        writer.writeheader()
    writer.writerow(row)
    append_line(path, text.getvalue().encode())


def _truncate(path: Path, step: int) -> None:
    """Keep the rows up to a step that are whole; nothing of a file that lost its first line."""
    if not path.exists():
        return
    if not path.is_file():
        raise StorageError(f'{path}: wanted a file of the log, and it is none. Remove it.')
    # None if the run was killed early; a row that a full disk cut has fewer columns or no end.
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b'\n')]
    header = lines[0] if lines and lines[0].startswith(b'step,') and b'\0' not in lines[0] else b''
    columns = header.count(b',')
    rows = [(line.partition(b',')[0], line) for line in lines[1:] if line.count(b',') == columns]
    kept = [line for number, line in rows if number.isdigit() and int(number[:18]) <= step]
    text = b''.join([header, *kept]) if header else b''
    write_atomic(path, text.decode(errors='replace').encode())
