"""Kills: at a random time, or at a change of a file; then the same command is run to its end."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from random import Random

from soak.matrix import code
from soak.places import OUT
from soak.processes import GRACE, Process, orphans
from soak.shim import Plan
from soak.stages import STAGES, Stage, inputs_of


class BrokenPromiseError(Exception):
    """A promise was not held."""


class Trial:
    """A stage in a folder of its own, beside one that was never disturbed.

    Args:
        stage: what is run.
        folder: of all trials; inputs and references are kept with those of all rows.
        name: of this one.
    """

    def __init__(self, stage: Stage, folder: Path, name: str) -> None:
        self.stage, self.folder = stage, folder / 'tries' / name
        self._kept = OUT / 'stages' / code()
        self.inputs, self.out = folder, self.folder / 'out'

    def __enter__(self) -> Trial:
        """Make the inputs, and the reference if there is none."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        _in_process(lambda: inputs_of(self.stage, self._kept), self.folder / 'inputs.log')
        self.inputs = inputs_of(self.stage, self._kept)
        if not self._facts_file.exists():
            self._make_reference()
        self.begin(self.out)
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        """Remove what held; what did not is kept to be looked at."""
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def reference(self) -> Path:
        """Output of a run that nothing disturbed."""
        return self.inputs / 'reference'

    @property
    def _facts_file(self) -> Path:
        return self.inputs / 'reference.json'

    @cached_property
    def facts(self) -> dict[str, float]:
        """Seconds and changes of files of an undisturbed run."""
        return dict(json.loads(self._facts_file.read_text()))

    def begin(self, out: Path) -> None:
        """Make the state before the command."""
        _in_process(lambda: self.stage.begin(self.inputs, out), self.folder / 'begin.log')

    def _make_reference(self) -> None:
        shutil.rmtree(self.reference, ignore_errors=True)
        self.begin(self.reference)
        self.start(self.reference).wait(self.stage.patience)  # fills caches of the inputs
        shutil.rmtree(self.reference)
        self.begin(self.reference)
        counter = self.folder / 'reference.count'
        plan = Plan('count', 0, str(self.reference), str(counter))
        start = time.monotonic()
        process = self.start(self.reference, plan)
        if status := process.wait(self.stage.patience):
            raise BrokenPromiseError(
                f'the reference ends with status {status}: {last_line(process)}'
            )
        facts = {'seconds': time.monotonic() - start, 'changes': counter.stat().st_size}
        self._facts_file.write_text(json.dumps(facts))

    def start(self, out: Path | None = None, plan: Plan | None = None, limit: int = 0) -> Process:
        """Start the command of the stage."""
        out = out or self.out
        log = self.folder / f'run{len(list(self.folder.glob("run*.log")))}.log'
        home = {'XDG_CACHE_HOME': str(self.inputs / 'cache')}
        return Process(lambda: self.stage.work(self.inputs, out), log, plan, home, limit)

    def plan(self, action: str, number: int) -> Plan:
        """Return a plan for the output of this trial."""
        return Plan(action, number, str(self.out), str(self.folder / f'{action}.count'))

    def nothing_left(self) -> None:
        """Make sure that no process outlives the one that was killed."""
        if left := orphans():
            raise BrokenPromiseError(f'still running {GRACE:g} s after its parent: {left[0]}')

    def intact(self) -> None:
        """Make sure that what is read at this moment can be."""
        why = _in_process(
            lambda: self.stage.damage(self.out, self.reference), self.folder / 'damage.log'
        )
        if why:
            raise BrokenPromiseError(f'after the kill: {why}')

    def finish(self) -> None:
        """Run the same command to its end; what it leaves equals the reference."""
        process = self.start()
        if status := process.wait(self.stage.patience):
            raise BrokenPromiseError(f'started again: status {status}: {last_line(process)}')
        self.nothing_left()
        why = _in_process(
            lambda: self.stage.differs(self.out, self.reference), self.folder / 'differs.log'
        )
        if why:
            raise BrokenPromiseError(why)


def last_line(process: Process) -> str:
    """Return the last line that a process wrote."""
    lines = process.output.strip().splitlines()
    return lines[-1][:1000] if lines else '(no output)'


def _in_process(check: Callable[[], object], log: Path) -> str:
    """Call a function in a process of its own, as this one must not compute; return its text."""
    result = log.with_suffix('.text')

    def work() -> int:
        result.write_text(str(check() or ''))
        return 0

    process = Process(work, log)
    if process.wait(120):
        return last_line(process)
    return result.read_text()


def random_kill(stage: Stage, number: int, folder: Path) -> None:
    """Kill at a random time, one time in three twice.

    Raises:
        BrokenPromiseError: something is lost, differs, refuses or still runs.
    """
    rng = Random(f'random {stage.name} {number}')
    with Trial(stage, folder, f'random-{number}') as trial:
        for _ in range(rng.choice((1, 1, 2))):
            process = trial.start()
            time.sleep(rng.uniform(0, trial.facts['seconds']))
            process.kill()
            trial.nothing_left()
            trial.intact()
        trial.finish()


def aimed_kill(stage: Stage, number: int, folder: Path) -> None:
    """Kill before, after or amid one change of a file; the numbers run through all of them.

    Raises:
        BrokenPromiseError: see `random_kill`.
    """
    rng = Random(f'aimed {stage.name} {number}')
    with Trial(stage, folder, f'aimed-{number}') as trial:
        action, place = rng.choice(('before', 'after', 'torn')), rng.random()
        plan = trial.plan(action, 1 + int(place * trial.facts['changes']))
        process = trial.start(plan=plan)
        process.wait(stage.patience)
        trial.nothing_left()
        trial.intact()
        trial.finish()


def over_stages(trial: Callable[[Stage, int, Path], None]) -> Callable[[int, Path], str]:
    """Return a try of a row of the matrix: the stages take turns."""

    def one(number: int, folder: Path) -> str:
        stages = list(STAGES.values())
        stage = stages[number % len(stages)]
        try:
            trial(stage, number // len(stages), folder)
        except (BrokenPromiseError, TimeoutError) as error:
            return f'{stage.name}: {error}'
        return ''

    return one
