"""Memory over time and the age of answers, under a camera of 1920x1200 at 60 Hz."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tiny

from soak.kills import last_line
from soak.processes import Process
from soak.ros.lifecycle import rss
from soak.ros.node_processes import start_node
from soak.ros.watcher import Watcher

SIZE, RATE = (1920, 1200), 60.0
# Measured, after a start in which allocators fill up [s].
SECONDS, START = 30 * 60.0, 5 * 60.0
FLAT = 0.01
FIGURES = 'figures.json'
SHOWN = (
    'input_hz', 'inference_ms', 'inference_ms_max', 'wait_ms_max', 'interval_ms_max',
    'transport_ms', 'transport_ms_max', 'overhead_ms', 'age_ms', 'age_ms_p95', 'age_ms_max',
)  # fmt: skip
# Between the arrival of an image and the start of work on it another thread may run [ms].
SWITCH = 10.0


def memory(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    """Yield the number of each try and what went wrong; `figures.json` has what was measured.

    SOAK_MINUTES shortens a try to a quarter of it.
    """
    minutes = float(os.environ.get('SOAK_MINUTES') or 0)
    seconds = min(SECONDS, 60 * minutes / 4) if minutes else SECONDS
    for number in numbers:
        yield number, _try(folder, seconds)


def _try(folder: Path, seconds: float) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    namespace = f'memory_{int(time.time())}'
    Process(lambda: tiny.write_bundle(folder / 'bundle') and 0, folder / 'bundle.log').wait(60)
    model = dict(model=folder / 'bundle', publish_json=True, device='cpu', runtime='torch')
    node = start_node('detect_node', folder, namespace, **model)
    camera = Process(lambda: _film(namespace), folder / 'camera.log')
    watcher = Process(
        lambda: _watch(namespace, node.pid, seconds, folder / FIGURES), folder / 'watcher.log'
    )
    try:
        if watcher.wait(seconds + min(START, seconds / 6) + 120):
            return last_line(watcher)
        return judge(json.loads((folder / FIGURES).read_text()))
    finally:
        for process in (node, camera, watcher):
            process.kill()


def _film(namespace: str) -> int:
    """Publish images as a camera does, as fast as it would."""
    watcher = Watcher(namespace, SIZE)
    images = [watcher.messages(seed) for seed in range(4)]
    due, number = time.monotonic(), 0
    while True:
        image, info = images[number % len(images)]
        image.header.stamp = watcher.node.get_clock().now().to_msg()
        watcher.send(image, info)
        number, due = number + 1, max(due + 1 / RATE, time.monotonic() - 1)
        watcher.spin(max(due - time.monotonic(), 0))


def _watch(namespace: str, pid: int, seconds: float, figures: Path) -> int:
    """Read memory and diagnostics once a second; write them down."""
    watcher, rows = Watcher(namespace), list[dict[str, float]]()
    if not watcher.until(lambda: watcher.results, 60, lambda: None):
        raise TimeoutError('no answer of detect_node')
    watcher.spin(min(START, seconds / 6))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        watcher.spin(1.0)
        values: dict[str, Any] = watcher.diagnostics.get('detect_node', {})
        row = {name: float(values[name]) for name in SHOWN if name in values}
        rows.append({'rss': float(rss(pid)), **row})
    figures.write_text(json.dumps(rows))
    return 0


def judge(rows: list[dict[str, float]]) -> str:
    """Return what does not hold of the figures of a try, '' when all does."""
    # Halves are compared by their medians: single readings hold images in work.
    half = len(rows) // 2
    first, last = (
        float(np.median([r['rss'] for r in part])) for part in (rows[:half], rows[half:])
    )
    if abs(last - first) > FLAT * first:
        return f'memory went from {first / 2**20:.1f} to {last / 2**20:.1f} MB'
    timed = [row for row in rows if 'age_ms_max' in row]
    if not timed:
        return 'no ages on /diagnostics'
    # Only the latest image waits, so the next one comes before it is older than their interval;
    # what else its answer takes is the transport to the node and its own inference.
    over = [r for r in timed if r['wait_ms_max'] > r['interval_ms_max'] + SWITCH]
    if over:
        worst = max(over, key=lambda row: row['wait_ms_max'])
        return (
            f'an image waited {worst["wait_ms_max"]:.0f} ms, and others came every '
            f'{worst["interval_ms_max"]:.0f} ms ({len(over)} of {len(timed)} readings)'
        )
    return ''
