"""The demo's page: one file that shows what every stage made."""

import csv
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pictures
from stages import FROZEN, NAIVE, REAL, Demo, bundle_of, present

from synth_detect_ros.report.html import (
    commands,
    curves,
    gallery,
    page,
    section,
    table,
    tiles,
    titled,
)

# Title, text and pieces of HTML.
Section = tuple[str, ...]
TITLES = {
    FROZEN: 'frozen extractor',
    NAIVE: 'naive twin, all layers train',
    REAL: 'twin with real labels, all layers train',
}
METRICS = ('AP', 'AP50', 'AP75', 'AR100')
PACKAGES = (
    'torch',
    'torchvision',
    'moderngl',
    'pyrender',
    'trimesh',
    'opencv-python',
    'numpy',
    'rclpy',
)


def write_page(demo: Demo, records: Mapping[str, Any], metrics: Mapping[str, Any]) -> Path:
    """Write `index.html`; return it.

    Args:
        demo: settings and folders.
        records: what `Demo.stage` returned, by name of the stage.
        metrics: content of metrics.json.
    """
    lead = (
        f'From a camera and a model to live detections without one label. {machine()}. '
        f'All stages together {metrics["seconds"] / 60:.0f} minutes.'
    )
    sections = [
        *([_model(demo, records)] if 'model' in records else []),
        _capture(demo, records['capture']),
        _synthetic(demo, records['capture']),
        _training(demo, records),
        _real(demo, records),
        _live(demo, records['live'], metrics),
        *([_generator(records['generator'], metrics)] if 'generator' in records else []),
    ]
    parts = [
        section(number, title, text, *body)
        for number, (title, text, *body) in enumerate(sections, start=1)
    ]
    text = page('synth_detect_ros: the whole path', lead, [_headline(metrics), *parts])
    file = demo.out / 'index.html'
    file.write_text(text)
    return file


def machine() -> str:
    """Return processor, cores and versions in one line."""
    cpu = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith('model name')]
        cpu = names[0].split(':', 1)[1].strip() if names else cpu
    versions = ', '.join(f'{name} {metadata.version(name)}' for name in PACKAGES if _has(name))
    cores = len(os.sched_getaffinity(0))
    return f'{cpu}, {cores} cores, Python {platform.python_version()}, {versions}'


def _has(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _number(value: float | None, digits: int = 2) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def _headline(metrics: Mapping[str, Any]) -> str:
    numbers = {}
    for title, parts in metrics['real'][FROZEN].items():
        for part, scores in parts.items():
            numbers[f'AP50 of {part} on real frames, {title}'] = _number(scores['AP50'])
            numbers[f'AP of {part} on real frames, {title}'] = _number(scores['AP'])
    numbers['synthetic images a second'] = _number(metrics['synthesize']['images_per_second'], 1)
    numbers['minutes of training'] = _number(metrics['train'][FROZEN]['seconds'] / 60, 1)
    numbers['ms a live image, the network'] = _number(metrics['live']['inference_ms'], 0)
    numbers['ms a live image, all the rest'] = _number(metrics['live']['overhead_ms'], 1)
    return tiles(numbers)


def _model(demo: Demo, records: Mapping[str, Any]) -> Section:
    counts = records['material']['results']
    text = (
        'There is no CAD file of this box. Its size and photographs of three of its faces, with '
        'four corners each, make one: frames of the video here, pictures of a telephone '
        'elsewhere. Faces that nobody photographed look like those behind them. '
        f'{counts["test"]} of the labelled frames are scored below; those near to a photograph '
        'of a face are not.'
    )
    picture = [('from above and from below', pictures.read_rgb(demo.out / 'model/turntable.png'))]
    folded = commands(records['model']['commands'], records['model']['seconds'])
    return 'Model', text, gallery(picture, 1, 1280), folded


def _capture(demo: Demo, record: Mapping[str, Any]) -> Section:
    frames = pictures.captured(demo.out / 'capture' / 'backgrounds', 10)
    text = (
        f'synthesize_node listened to a camera topic and kept {record["results"]["frames"]} '
        'frames that are sharp, well exposed and different from one another, and the intrinsics. '
        'The camera is camera_replay_node with real photographs; none of the objects is in them.'
    )
    return 'Capture', text, gallery(frames, 5, 320)


def _synthetic(demo: Demo, record: Mapping[str, Any]) -> Section:
    results = record['results']
    text = (
        f'The same node then rendered {results["images"]} images with {results["instances"]} '
        'labelled objects over these frames: Phong shading, noise, blur across the boundary, '
        'distractors, occlusion. Boxes and masks come from the renderer.'
    )
    samples = pictures.synthetic(demo.out / 'capture' / 'dataset', 9)
    folded = commands(record['commands'], record['seconds'])
    return 'Synthesize', text, gallery(samples, 3, 480), folded


def _training(demo: Demo, records: Mapping[str, Any]) -> Section:
    trained = {name: r for name, r in records.items() if name.startswith('train_')}
    lines = {_title(name): _losses(demo.out / name / 'run' / 'log.csv') for name in trained}
    rows = [
        (
            _title(name),
            str(r['results']['images']),
            str(r['results']['steps']),
            f'{r["results"]["seconds"]:.0f}',
            f'{sum(r["results"]["model"]["freeze"]["frozen"].values()) / 1e6:.2f} M',
            f'{r["results"]["model"]["freeze"]["trainable"] / 1e6:.2f} M',
        )
        for name, r in trained.items()
    ]
    detector = trained[f'train_{FROZEN}']['results']['model']['detector']
    text = (
        f'A {detector["architecture"]} on {detector["backbone"]} saw synthetic images only. The '
        'extractor was trained on real photographs and stays frozen, as in Hinterstoisser et al. '
        '2017; everything behind it learns. Why this extractor: '
        f'{records["extractor"]["results"]["why"]}.'
    )
    head = ('', 'images', 'steps', 'seconds', 'frozen', 'trained')
    loss = 'training loss, moving average of the log'
    plots = titled(loss, curves(lines, 'minutes', loss))
    folded = ''.join(commands(r['commands'], r['seconds']) for r in trained.values())
    return 'Train', text, table(head, rows), plots, folded


def _title(stage: str) -> str:
    return TITLES[stage.partition('_')[2]]


def _losses(path: Path, window: int = 15) -> tuple[list[float], list[float]]:
    """Return minutes and smoothed loss of a training log."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    minutes = [float(row['elapsed_s']) / 60 for row in rows]
    loss = np.array([float(row['loss']) for row in rows])
    window = max(1, min(window, len(loss) // 4))
    smooth = np.convolve(loss, np.ones(window) / window, mode='valid')
    return minutes[window - 1 :], smooth.tolist()


def _real(demo: Demo, records: Mapping[str, Any]) -> Section:
    rows = []
    for name in (name for name in records if name.startswith('evaluate_')):
        for title, result in records[name]['results'].items():
            for part in (part for part in ('boxes', 'masks') if result[part]):
                cells = [_number(result[part][key], 3) for key in METRICS]
                rows.append((f'{title}: {part}, {_title(name)}', str(result['images']), *cells))
    parts = [table(('', 'images', *METRICS), rows)]
    for title, facts in demo.settings['evaluate'].items():
        bundle, content = bundle_of(demo, FROZEN), present(facts)
        best, worst = pictures.real(bundle, facts, content, frames=24, shown=4)
        parts.append(gallery(best, 4, 420, f'{title}: best of 24 frames'))
        parts.append(gallery(worst, 4, 420, f'{title}: worst of 24 frames'))
    folded = [
        commands(r['commands'], r['seconds'])
        for name, r in records.items()
        if name.startswith('evaluate_')
    ]
    text = (
        'COCO metrics on real labelled frames, none of which trained the frozen detector. '
        f'{demo.settings["labels"]} Green: the label. Other colours: what the detector found.'
    )
    return 'Evaluate on real frames', text, *parts, *folded


def _live(demo: Demo, record: Mapping[str, Any], metrics: Mapping[str, Any]) -> Section:
    live = metrics['live']
    text = (
        'camera_replay_node sends real frames, detect_node detects: two processes and a real ROS '
        'graph. Only the latest frame is processed, so nothing piles up.'
    )
    rows = [
        ('the model itself', f'{_number(live["inference_ms"], 1)} ms'),
        ('all else: transport, conversion, publishing', f'{_number(live["overhead_ms"], 1)} ms'),
        ('age of the detections, 95th percentile', f'{_number(live["age_ms_p95"], 1)} ms'),
    ]
    folded = commands(record['commands'], record['seconds'])
    files = sorted((demo.out / 'live').glob('*.jpg'))
    overlays = gallery([(f'~/overlay {p.stem}', pictures.read_rgb(p)) for p in files], 4, 420)
    return 'Detect live', text, table(('', ''), rows), overlays, folded


def _generator(record: Mapping[str, Any], metrics: Mapping[str, Any]) -> Section:
    numbers = metrics['generator']
    peer = numbers['peer_images_per_second']
    text = (
        'Images a second at 640x480 with 1 to 3 objects and distractors, all cores. The peer is '
        'the plain pyrender script that one would write in an afternoon, run just before or after.'
    )
    rows = [
        ('synth_detect_ros', _number(numbers['images_per_second'], 1)),
        ('plain pyrender script', _number(peer, 1) if peer else 'not at hand: set PEER'),
        ('growth of resident memory', _growth(numbers['rss_growth'])),
    ]
    folded = commands(record['commands'], record['seconds'])
    return 'Generator', text, table(('', ''), rows), folded


def _growth(value: float | None) -> str:
    return '-' if value is None else f'{value:+.1%}'
