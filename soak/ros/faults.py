"""Messages that no driver should send: the nodes skip them, and go on with the next good one."""

from __future__ import annotations

import array
import itertools
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import tiny

from soak.kills import last_line
from soak.processes import Process
from soak.ros.node_processes import start_node
from soak.ros.watcher import Watcher

Spoil = Callable[[Any, Any], None]
NAN = float('nan')
PATIENCE = 20.0


def _set(which: str, **values: Any) -> Spoil:
    def spoil(image: Any, info: Any) -> None:
        for name, value in values.items():
            target = image if which == 'image' else info
            *parents, last = name.split('__')
            for parent in parents:
                target = getattr(target, parent)
            setattr(target, last, value)

    return spoil


def _data(length: int) -> Spoil:
    return _set('image', data=array.array('B', bytes(length)))


IMAGES: dict[str, Spoil] = {
    'no data': _data(0),
    'half the data': _data(28_800),
    'more data': _data(100_000),
    'one byte less': _data(57_599),
    **{f'width {v}': _set('image', width=v) for v in (0, 1, 159, 161, 2**31, 2**32 - 1)},
    **{f'height {v}': _set('image', height=v) for v in (0, 1, 121, 2**32 - 1)},
    **{f'step {v}': _set('image', step=v) for v in (0, 1, 479, 481, 2**32 - 1)},
    **{
        f'encoding {v!r}': _set('image', encoding=v)
        for v in ('', 'jpeg9', 'RGB8', '16UC1', '32FC1', 'mono16', 'bayer_rggb8', 'yuv422', 'nv21')
    },
    'big endian': _set('image', is_bigendian=255),
    'long frame': _set('image', header__frame_id='x' * 10_000),
    'another frame': _set('image', header__frame_id='left'),
    'frame in another script': _set('image', header__frame_id='\u76f8\u673a\u00fc'),
    **{
        f'stamp {sec} {nano}': _set('image', header__stamp__sec=sec, header__stamp__nanosec=nano)
        for sec, nano in ((0, 0), (-1, 0), (2**31 - 1, 0), (1, 2**32 - 1), (10**9, 0))
    },
}
INFOS: dict[str, Spoil] = {
    'K of zeros': _set('info', k=[0.0] * 9),
    'K of NaN': _set('info', k=[NAN] * 9),
    'NaN in K': _set('info', k=[150.0, 0, NAN, 0, 150, 60, 0, 0, 1]),
    'infinite K': _set('info', k=[float('inf'), 0, 80, 0, 150, 60, 0, 0, 1]),
    'negative K': _set('info', k=[-150.0, 0, 80, 0, 150, 60, 0, 0, 1]),
    'NaN in D': _set('info', d=[NAN] * 5),
    'three D': _set('info', d=[0.1] * 3),
    'hundred D': _set('info', d=[0.1] * 100),
    'another lens': _set('info', distortion_model='fisheye'),
    'CameraInfo 0x0': _set('info', width=0, height=0),
    'CameraInfo of another size': _set('info', width=320, height=240),
    'binning': _set('info', binning_x=2**32 - 1),
    'roi': _set('info', roi__x_offset=150, roi__width=100, roi__height=100),
}
FAULTS = {**IMAGES, **INFOS}


def faults(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    """Yield the number of each fault and what went wrong; new nodes come only after a death."""
    left, start = list(numbers), 0
    while left:
        start += 1
        found = _live_through(left, folder / str(start), f'faults_{int(time.time())}_{start}')
        yield from found.items()
        left = [number for number in left if number not in found]


def _live_through(numbers: list[int], folder: Path, namespace: str) -> dict[int, str]:
    """Start both nodes, send faults until one of them dies; return what went wrong in each."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = folder / 'results.json'
    Process(lambda: tiny.write_bundle(folder / 'bundle') and 0, folder / 'bundle.log').wait(60)
    model = dict(model=folder / 'bundle', publish_json=True, device='cpu', runtime='torch')
    detect = start_node('detect_node', folder, namespace, **model)
    options = dict(count=100_000, min_interval_s=0, min_difference=0, min_sharpness=0)
    capture = start_node('synthesize_node', folder, namespace, out=folder / 'set', **options)
    watcher = Process(lambda: _watch(namespace, folder, numbers, result), folder / 'watcher.log')
    nodes = (detect, capture)
    end = time.monotonic() + 2 * PATIENCE + 2 * PATIENCE * len(numbers)
    try:
        while watcher.running and all(n.running for n in nodes) and time.monotonic() < end:
            time.sleep(0.1)
        found = json.loads(result.read_text()) if result.is_file() else {}
        outcomes = {int(number): why for number, why in found.items()}
        dead = [last_line(node) for node in nodes if not node.running]
        if dead or len(outcomes) < len(numbers):
            number = next(number for number in numbers if number not in outcomes)
            name = list(FAULTS)[number % len(FAULTS)]
            outcomes[number] = f'{name}: {(dead or [last_line(watcher)])[0]}'
        return outcomes
    finally:
        for process in (*nodes, watcher):
            process.kill()


def _complaint(folder: Path) -> str:
    """Return what a node should not have logged: an error of Python, or a kind of fault twice."""
    for path in folder.glob('*_node0.log'):
        lines = path.read_text(errors='replace').splitlines()
        for line in lines:
            if 'Traceback' in line or 'failed' in line:
                return f'{path.name}: {line[-200:]}'
        said = Counter(line.partition(']: ')[2] for line in lines if line.endswith('(said once)'))
        if said and max(said.values()) > 1:
            return f'{path.name}: said again: {said.most_common(1)[0][0][:200]}'
    return ''


def _watch(namespace: str, folder: Path, numbers: list[int], result: Path) -> int:
    watcher, seeds = Watcher(namespace), itertools.count()
    found: dict[int, str] = {}
    complaints = ['']

    def kept() -> int:
        return len(list((folder / 'set' / 'frames').glob('[0-9]*')))

    def good() -> str:
        """Send good images until both nodes answer; return who does not."""
        answers, frames = len(watcher.results), kept()
        send = lambda: watcher.send(*watcher.messages(next(seeds)))  # noqa: E731
        if not watcher.until(lambda: len(watcher.results) > answers + 1, PATIENCE, send):
            return 'detect_node does not answer'
        if not watcher.until(lambda: kept() > frames, PATIENCE, send):
            return 'synthesize_node keeps nothing'
        return ''

    why = good() and good()
    for number in numbers:
        name = list(FAULTS)[number % len(FAULTS)]
        for _ in range(3):
            image, info = watcher.messages(next(seeds))
            FAULTS[name](image, info)
            watcher.send(image, info)
            watcher.spin(0.05)
        why = good()
        if (complaint := _complaint(folder)) not in complaints:
            complaints.append(complaint)
            why = why or complaint
        found[number] = f'{name}: {why}' if why else ''
        result.write_text(json.dumps(found))
    return 0
