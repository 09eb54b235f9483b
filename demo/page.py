"""The demo's page: one file that shows what every stage made. Its text is in page.html.j2."""

import csv
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pictures
from stages import FROZEN, NAIVE, REAL, Demo, bundle_of, present

from synth_detect_ros.evaluation.metrics import METRICS, number
from synth_detect_ros.experiments.processes import machine
from synth_detect_ros.report.pages import Picture, render_page
from synth_detect_ros.report.plots import curves

TITLES = {
    FROZEN: 'frozen extractor',
    NAIVE: 'naive twin, all layers train',
    REAL: 'twin with real labels, all layers train',
}
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
# Real frames that are looked at for the best and the worst.
FRAMES = 24


def write_page(demo: Demo, records: Mapping[str, Any], metrics: Mapping[str, Any]) -> Path:
    """Write `index.html`; return it.

    Args:
        demo: settings and folders.
        records: what `Demo.stage` returned, by name of the stage.
        metrics: content of metrics.json.
    """
    trained = {name: r['results'] for name, r in records.items() if name.startswith('train_')}
    losses = {_title(name): read_losses(demo.out / name / 'run' / 'log.csv') for name in trained}
    page = render_page(
        Path(__file__).with_name('page.html.j2'),
        title='synth_detect_ros: the whole path',
        records=records,
        metrics=metrics,
        number=number,
        machine=describe_machine(),
        headline=headline(metrics),
        turntable=_pictures(demo.out / 'model', 'turntable.png', 'from above and from below'),
        captured=pictures.captured(demo.out / 'capture' / 'backgrounds', 10),
        synthetic=pictures.synthetic(demo.out / 'capture' / 'dataset', 9),
        trained=list(trained),
        evaluated=[name for name in records if name.startswith('evaluate_')],
        detector=trained[f'train_{FROZEN}']['model']['detector'],
        trainings=[_training(name, results) for name, results in trained.items()],
        losses=curves(losses, 'minutes', 'training loss'),
        labels=demo.settings['labels'],
        scores_head=('', 'images', *METRICS),
        scores=_scores(records),
        real=_real(demo),
        frames=FRAMES,
        live=_pictures(demo.out / 'live', '*.jpg', '~/overlay'),
    )
    file = demo.out / 'index.html'
    file.write_bytes(page)
    return file


def describe_machine() -> str:
    """Return processor, cores, GPU and versions in one line."""
    facts = machine()
    parts = [facts['cpu'], f'{facts["cores"]} cores', *([facts['gpu']] if 'gpu' in facts else [])]
    versions = [f'{name} {metadata.version(name)}' for name in PACKAGES if _has(name)]
    return ', '.join([*parts, f'Python {platform.python_version()}', *versions])


def _has(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _pictures(folder: Path, pattern: str, caption: str) -> list[Picture]:
    return [(caption, pictures.read_rgb(path)) for path in sorted(folder.glob(pattern))]


def headline(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the most important numbers, by what they are."""
    numbers = {}
    for title, parts in metrics['real'][FROZEN].items():
        for part, scores in parts.items():
            for key in ('AP50', 'AP'):
                numbers[f'{key} of {part} on real frames, {title}'] = number(scores[key], 2)
    live = metrics['live']
    return {
        **numbers,
        'synthetic images a second': number(metrics['synthesize']['images_per_second'], 1),
        'minutes of training': number(metrics['train'][FROZEN]['seconds'] / 60, 1),
        'ms a live image, the network': number(live['inference_ms'], 0),
        'ms a live image, all the rest': number(live['overhead_ms'], 1),
    }


def _title(stage: str) -> str:
    return TITLES[stage.partition('_')[2]]


def _training(name: str, results: Mapping[str, Any]) -> tuple[str, ...]:
    freeze = results['model']['freeze']
    return (
        _title(name),
        str(results['images']),
        str(results['steps']),
        f'{results["seconds"]:.0f}',
        f'{sum(freeze["frozen"].values()) / 1e6:.2f} M',
        f'{freeze["trainable"] / 1e6:.2f} M',
    )


def read_losses(path: Path, window: int = 15) -> tuple[list[float], list[float]]:
    """Return minutes and smoothed loss of a training log."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    minutes = [float(row['elapsed_s']) / 60 for row in rows]
    loss = np.array([float(row['loss']) for row in rows])
    window = max(1, min(window, len(loss) // 4))
    smooth = np.convolve(loss, np.ones(window) / window, mode='valid')
    return minutes[window - 1 :], smooth.tolist()


def _scores(records: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the lines of the table of scores."""
    rows = []
    for name in (name for name in records if name.startswith('evaluate_')):
        for title, result in records[name]['results'].items():
            for part in (part for part in ('boxes', 'masks') if result[part]):
                scores = [number(result[part][key]) for key in METRICS]
                rows.append((f'{title}: {part}, {_title(name)}', str(result['images']), *scores))
    return rows


def _real(demo: Demo) -> list[tuple[str, list[Picture], list[Picture]]]:
    """Return title, best and worst frames of each labelled set."""
    return [
        (title, *pictures.real(bundle_of(demo, FROZEN), facts, present(facts), FRAMES, shown=4))
        for title, facts in demo.settings['evaluate'].items()
    ]
