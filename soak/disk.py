"""A full disk at every write: a sentence, and after it the same command goes on."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from soak.kills import BrokenPromiseError, Trial, last_line
from soak.processes import CRASHED
from soak.stages import Stage

# Of a command, of one of an experiment's in its log, and of a function that a trial calls.
_SENTENCE = re.compile(
    r'^(synth-detect: error: .*cannot be |/.* cannot be |.*StorageError: |.*FATAL.*cannot be )',
    re.M,
)


def full_disk(stage: Stage, number: int, folder: Path) -> None:
    """Refuse the n-th write and all later ones, or those beyond a size of the file.

    The second way reaches what PyTorch and safetensors write past Python.

    Raises:
        BrokenPromiseError: no sentence, or what comes after differs or refuses.
    """
    rng = Random(f'full {stage.name} {number}')
    with Trial(stage, folder, f'full-{number}') as trial:
        if rng.randrange(2):
            sizes = [p.stat().st_size for p in trial.reference.rglob('*') if p.is_file()]
            process = trial.start(limit=int(rng.choice(sizes) * rng.random()))
        else:
            place = 1 + int(rng.random() * trial.facts['changes'])
            process = trial.start(plan=trial.plan('full', place))
        status = process.wait(stage.patience)
        # Libraries may say something of their own before and after.
        if status and not (_SENTENCE.search(process.output) and status in (1, CRASHED)):
            raise BrokenPromiseError(f'status {status} with no sentence: {last_line(process)}')
        trial.nothing_left()
        trial.intact()
        trial.finish()
