"""Two processes on one folder: one is refused, or both end right; either way the result is."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

from soak.kills import BrokenPromiseError, Trial, last_line
from soak.processes import CRASHED
from soak.stages import Stage


def two_processes(stage: Stage, number: int, folder: Path) -> None:
    """Start a command twice, the second time a moment later.

    Raises:
        BrokenPromiseError: both fail, one crashes, or the result differs.
    """
    rng = Random(f'pair {stage.name} {number}')
    with Trial(stage, folder, f'pair-{number}') as trial:
        first = trial.start()
        time.sleep(rng.choice((0, rng.uniform(0, trial.facts['seconds']))))
        second = trial.start()
        processes = (first, second)
        states = [process.wait(2 * stage.patience) for process in processes]
        for status, process in zip(states, processes, strict=True):
            refused = status == 1 or (status == CRASHED and 'Error: ' in last_line(process))
            if status and (not refused or ('Traceback' in process.output and status == 1)):
                raise BrokenPromiseError(f'status {status} with no sentence: {last_line(process)}')
        if all(states):
            raise BrokenPromiseError(f'both are refused: {last_line(first)}')
        trial.nothing_left()
        trial.intact()
        trial.finish()
