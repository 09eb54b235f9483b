"""All rows of the matrix."""

from __future__ import annotations

from soak.disk import full_disk
from soak.fuzz.row import fuzzed
from soak.kills import aimed_kill, over_stages, random_kill
from soak.matrix import Row, one_by_one
from soak.pairs import two_processes
from soak.ros.capture import capture_kill
from soak.ros.faults import FAULTS, faults
from soak.ros.lifecycle import rounds
from soak.ros.memory import memory
from soak.ros.rendering import STAGE
from soak.stages import STAGES

STAGES[STAGE.name] = STAGE
_NUMBER = len(STAGES)
ROWS: tuple[Row, ...] = (
    Row(
        'fuzz',
        'A reader of a changed file raises only SynthDetectError or OSError, within 10 s and 2 GB',
        fuzzed,
        full=10_000,
        short=180,
    ),
    Row(
        'aimed kills',
        'A kill before, after or amid any change of a file loses nothing: the same command goes '
        'on, its result is equal, no process is left',
        one_by_one(over_stages(aimed_kill)),
        full=20 * _NUMBER,
        short=4,
    ),
    Row(
        'random kills',
        'A kill at a random time loses nothing either',
        one_by_one(over_stages(random_kill)),
        full=34 * _NUMBER,
        short=4,
    ),
    Row(
        'full disk',
        'A disk that is full from any write on is told in a sentence; the same command goes on '
        'and its result is equal',
        one_by_one(over_stages(full_disk)),
        full=20 * _NUMBER,
        short=4,
    ),
    Row(
        'two processes',
        'Of two processes on one folder one is refused, or both end right',
        one_by_one(over_stages(two_processes)),
        full=4 * _NUMBER,
        short=1,
    ),
    Row(
        'capture kills',
        'A capture that is killed loses no frame that it had recorded, and goes on',
        one_by_one(capture_kill), full=60, short=1,
    ),
    Row(
        'camera faults',
        'After messages that no driver should send, detection and capture go on with the next '
        'good image',
        faults, full=len(FAULTS), short=2,
    ),
    Row(
        'lifecycle',
        'configure, activate, deactivate, cleanup, again and again: the state asked for, an '
        'answer while active, memory within 5 %',
        rounds, full=200, short=3,
    ),
    Row(
        'memory',
        'Half an hour of 1920x1200 at 60 Hz: memory within 1 %, no answer older than transport, '
        'inference and one frame interval',
        memory, full=1, short=0,
    ),
)  # fmt: skip
