"""A full disk at every write: a sentence, and after it the same command goes on."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from soak.kills import BrokenPromiseError, Trial, last_line
from soak.processes import CRASHED
from soak.stages import Stage

# Of a command, and of a function that a trial calls.
_SENTENCE = re.compile(r'synth-detect: error: .*cannot be |.*StorageError: |.*FATAL.*cannot be ')


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
        status, said = process.wait(stage.patience), last_line(process)
        # A library may have said something of its own before the sentence, which comes last.
        if status and not (_SENTENCE.match(said) and status in (1, CRASHED)):
            raise BrokenPromiseError(f'status {status} with no sentence: {said}')
        trial.nothing_left()
        trial.intact()
        trial.finish()
