"""Kills of a capture: no frame is lost that was recorded, and the next start goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from random import Random

import cv2
import numpy as np
import scenes

from soak.kills import BrokenPromiseError, last_line
from soak.processes import GRACE, Process, orphans
from soak.ros.node_processes import start_node
from soak.shim import Plan
from synth_detect_ros.dataset.backgrounds import BackgroundWriter, FrameRecord, read_background_set

COUNT, SOURCE, PATIENCE = 12, 40, 90.0
# A start, and the frames of a capture at this rate, take about as long [s].
LONGEST = 4.0
# Changes of files in a capture of COUNT frames, about.
CHANGES = 60


def _write_source(folder: Path) -> None:
    """Write a background set of distinct, sharp frames."""
    writer = BackgroundWriter(folder, 'png')
    writer.save_camera(scenes.camera(160, 120))
    for number in range(SOURCE):
        coarse = np.random.default_rng(number).integers(40, 220, (12, 16, 3), np.uint8)
        image = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_NEAREST)
        writer.add(image, FrameRecord(0.0, 'topic', 'rgb8', 0.0))


def recorded(out: Path) -> dict[str, str]:
    """Return the hashes of the frames that whole lines of frames.jsonl name."""
    path = out / 'frames.jsonl'
    lines = path.read_bytes().split(b'\n')[:-1] if path.exists() else []
    names = [json.loads(line)['file'] for line in lines]
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}


def capture_kill(number: int, folder: Path) -> str:
    """Kill a capture once to three times, at a time or at a change of a file; then let it end."""
    rng, place = Random(f'capture {number}'), folder / f'capture-{number}'
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    source = place / 'source'
    Process(lambda: _write_source(source), place / 'source.log').wait(60)
    namespace = f'capture_{number}'
    play = dict(source=source, rate_hz=20, loop=True)
    replay = start_node('camera_replay_node', place, namespace, **play)
    try:
        _kill_and_go_on(rng, place, namespace, replay.pid)
    except (BrokenPromiseError, TimeoutError, OSError, ValueError) as error:
        return f'capture {number}: {error}'
    finally:
        replay.kill()
    shutil.rmtree(place, ignore_errors=True)
    return ''


def _kill_and_go_on(rng: Random, place: Path, namespace: str, replay: int) -> None:
    out, known = place / 'set', dict[str, str]()
    options = dict(out=out, count=COUNT, min_interval_s=0)
    for turn in range(rng.choice((1, 1, 2, 3))):
        plan = None
        if rng.randrange(2):
            action, change = rng.choice(('before', 'after', 'torn')), 1 + rng.randrange(CHANGES)
            plan = Plan(action, change, str(out), str(place / f'{turn}.count'))
        node = start_node('synthesize_node', place, namespace, plan, **options)
        end = time.monotonic() + (LONGEST if plan else rng.uniform(0, LONGEST))
        while node.running and time.monotonic() < end:
            time.sleep(0.01)
        node.kill()
        known = _nothing_lost(known, recorded(out))
    node = start_node('synthesize_node', place, namespace, **options)
    if status := node.wait(PATIENCE):
        raise BrokenPromiseError(f'started again: status {status}: {last_line(node)}')
    found = _nothing_lost(known, recorded(out))
    backgrounds = read_background_set(out)
    for index in range(len(backgrounds)):
        backgrounds.read(index)
    if len(backgrounds) != COUNT:
        raise BrokenPromiseError(f'{len(backgrounds)} frames of {COUNT}, {len(found)} recorded')
    if left := orphans((replay,)):
        raise BrokenPromiseError(f'still running after {GRACE:g} s: {left[0]}')


def _nothing_lost(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    lost = [name for name, digest in before.items() if after.get(name) != digest]
    if lost:
        raise BrokenPromiseError(f'{lost[0]} was recorded, and is gone or another')
    return after
