"""The whole path on real data: camera topic, backgrounds, synthetic set, detector, detections.

Run by `make demo`. Leaves `build/demo/index.html` and `build/demo/metrics.json`. A stage that was
done before with the same inputs is not repeated.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import stages
import yaml
from commands import DemoError, Runner
from page import METRICS, write_page

ROOT = Path(__file__).parents[1]
HELP = """\
The demo needs real frames, CAD models and extractor weights. Give their folders:

    make demo DATA=/path/to/data WEIGHTS=/path/to/weights

They are found by themselves in ../shared/data and ../shared/weights. demo/demo.yaml names what
must be in them."""


def main() -> int:
    """Run the demo; return the exit status: 0 done, 1 a stage failed, 2 the data are missing."""
    arguments = _arguments()
    settings = yaml.safe_load(arguments.settings.read_text())
    data, weights = _folder('DATA', 'data'), _folder('WEIGHTS', 'weights')
    try:
        stages.check_inputs(settings, data, weights)
    except DemoError as error:
        print(f'{error}\n\n{HELP}', file=sys.stderr)
        return 2
    out = arguments.out.resolve()
    scripts = f'{Path(sys.executable).parent}/'
    names = {str(data): '$DATA', str(weights): '$WEIGHTS', scripts: '', f'{ROOT}/': ''}
    runner = Runner(out, names)
    demo = stages.Demo(settings, data, weights, out, runner)
    try:
        records = run_stages(demo, arguments.freeze)
    except DemoError as error:
        print(f'\n{error}', file=sys.stderr)
        return 1
    metrics = summary(records)
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2) + '\n')
    page = out / 'index.html'
    if not _is_current(page, [out / name / 'stage.json' for name in records]):
        write_page(demo, records, metrics)
    print(f'\n{json.dumps(metrics, indent=2)}\n\n{page}')
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--freeze',
        default='first_stage',
        choices=('first_stage', 'none'),
        help='none: train a naive twin, nothing frozen, for the same time as well',
    )
    parser.add_argument(
        '--settings', type=Path, default=ROOT / 'demo' / 'demo.yaml', help='all numbers'
    )
    parser.add_argument('--out', type=Path, default=ROOT / 'build' / 'demo', help='results')
    return parser.parse_args()


def _folder(variable: str, name: str) -> Path:
    """Return the folder an environment variable names, or the default one."""
    return Path(os.environ.get(variable) or ROOT.parent / 'shared' / name).resolve()


def _peer(data: Path, script: str) -> Path | None:
    """Return the peer of the generator: $PEER, or what lies beside the data; None: neither."""
    beside = data.parent / 'peers' / script
    path = Path(os.environ.get('PEER') or beside)
    if path.is_file():
        return path.resolve()
    print(f'no {path}: the generator is measured alone; PEER=... names the script')
    return None


def run_stages(demo: stages.Demo, freeze: str) -> dict[str, Any]:
    """Do all stages, in order; return their records by name.

    Raises:
        DemoError: a command failed.
    """
    records = {'capture': stages.capture(demo)}
    twins = {'': 'first_stage', **({'_naive': 'none'} if freeze == 'none' else {})}
    for suffix, policy in twins.items():
        train, evaluate = f'train{suffix}', f'evaluate{suffix}'
        records[train] = stages.train(demo, records['capture'], policy, train)
        model = demo.out / train / 'run' / 'bundle'
        records[evaluate] = stages.evaluate(demo, records[train], model, evaluate)
    model = demo.out / 'train' / 'run' / 'bundle'
    records['live'] = stages.live(demo, records['train'], model)
    peer = _peer(demo.data, demo.settings['generator']['peer'])
    records['generator'] = stages.generator(demo, peer)
    return records


def _is_current(page: Path, made_from: list[Path]) -> bool:
    """Return whether the page is younger than its stages and than the code that writes it."""
    sources = [*made_from, *(ROOT / 'demo').glob('*.py')]
    return page.is_file() and page.stat().st_mtime > max(s.stat().st_mtime for s in sources)


def summary(records: dict[str, Any]) -> dict[str, Any]:
    """Return what metrics.json holds."""

    def scores(stage: str) -> dict[str, dict[str, float | None]]:
        results = records[stage]['results']
        return {label: {k: row[k] for k in METRICS} for label, row in results.items()}

    def chosen(stage: str, *keys: str) -> dict[str, Any]:
        return {key: records[stage]['results'].get(key) for key in keys}

    metrics = {
        'real': scores('evaluate'),
        'generator': chosen(
            'generator', 'images_per_second', 'peer_images_per_second', 'rss_growth'
        ),
        'train': chosen('train', 'images', 'steps', 'seconds'),
        'live': chosen('live', 'inference_ms', 'overhead_ms', 'age_ms_p95'),
    }
    if 'evaluate_naive' in records:
        metrics['naive'] = scores('evaluate_naive')
    return metrics


if __name__ == '__main__':
    sys.exit(main())
