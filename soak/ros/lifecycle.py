"""Rounds of configure, activate, deactivate, cleanup: the same state and memory each time."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import tiny
from lifecycle_msgs.msg import Transition

from soak.kills import last_line
from soak.processes import Process
from soak.ros.node_processes import start_node
from soak.ros.watcher import Watcher

ROUND = (
    (Transition.TRANSITION_CONFIGURE, 'inactive'),
    (Transition.TRANSITION_ACTIVATE, 'active'),
    (Transition.TRANSITION_DEACTIVATE, 'inactive'),
    (Transition.TRANSITION_CLEANUP, 'unconfigured'),
)
# Rounds in which allocators and caches fill up, before memory counts.
WARM_UP = 10
GROWTH = 1.05


def rounds(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    """Yield the number of each round and what went wrong in it."""
    numbers = list(numbers)
    if not numbers:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    namespace, result = f'lifecycle_{int(time.time())}', folder / 'results.json'
    Process(lambda: tiny.write_bundle(folder / 'bundle') and 0, folder / 'bundle.log').wait(60)
    node = start_node(
        'detect_node', folder, namespace, model=folder / 'bundle', publish_json=True,
        device='cpu', runtime='torch', autostart=False,
    )  # fmt: skip
    watcher = Process(lambda: _watch(namespace, node.pid, numbers, result), folder / 'watcher.log')
    try:
        status = watcher.wait(60 + 30 * len(numbers))
        found = json.loads(result.read_text()) if result.is_file() else {}
        for number in numbers:
            yield number, found.get(str(number), last_line(watcher) if status else 'not tried')
    finally:
        node.kill()
        watcher.kill()


def _watch(namespace: str, pid: int, numbers: list[int], result: Path) -> int:
    watcher, found, first = Watcher(namespace), dict[int, str](), 0
    for turn, number in enumerate(numbers):
        why = ''
        for transition, state in ROUND:
            if not watcher.change_state(transition) or watcher.state() != state:
                why = why or f'transition {transition} does not lead to {state}'
            if state == 'active' and not _answers(watcher):
                why = why or 'no answer while active'
        memory = rss(pid)
        first = memory if turn == WARM_UP else first
        if first and memory > GROWTH * first:
            why = why or f'memory grew from {first >> 20} to {memory >> 20} MB'
        found[number] = why
        result.write_text(json.dumps(found))
    return 0


def _answers(watcher: Watcher) -> bool:
    before = len(watcher.results)
    return watcher.until(
        lambda: len(watcher.results) > before, 20, lambda: watcher.send(*watcher.messages(0))
    )


def rss(pid: int) -> int:
    """Return the resident memory of a process [bytes]."""
    text = Path(f'/proc/{pid}/status').read_text()
    return int(text.split('VmRSS:')[1].split()[0]) << 10
