"""The whole path on real frames: camera topic, backgrounds, synthetic set, detector, detections.

Run by `make demo`. Leaves `index.html` and `metrics.json` in the folder `--out`. A stage that was
done before with the same inputs is not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import stages
import yaml
from commands import DemoError, MissingError, Runner
from material import Given
from page import write_page

from synth_detect_ros.evaluation.metrics import METRICS
from synth_detect_ros.experiments.grid import merge

ROOT = Path(__file__).parents[1]
DEMO = ROOT / 'demo'
# Of a labelled set.
FILES = ('images', 'annotations')


def main() -> int:
    """Run the demo; return the exit status: 0 done, 1 a stage failed, 2 the data are missing."""
    arguments = parse()
    out, material = arguments.out.resolve(), arguments.material.resolve() / 'cookie_box'
    places = {'MATERIAL': material, 'OUT': out, 'DEMO': DEMO}
    for name in ('data', 'weights'):
        if folder := getattr(arguments, name):
            places[name.upper()] = folder.resolve()
    try:
        demo = open_demo(arguments, places)
        records = run_stages(demo, arguments, material)
    except DemoError as error:
        print(f'\n{error}', file=sys.stderr)
        return 2 if isinstance(error, MissingError) else 1
    metrics = {**summary(records), 'commit': commit()}
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2) + '\n')
    page = write_page(demo, records, metrics)
    print(f'\n{json.dumps(metrics, indent=2)}\n\n{page}')
    return check(metrics, demo.settings)


def parse() -> argparse.Namespace:
    """Return the arguments; what is empty was not given."""

    def folder(text: str) -> Path | None:
        return Path(text).expanduser() if text else None

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', type=folder, help='real data of your own: two_objects.yaml')
    parser.add_argument('--weights', type=folder, help='folder of extractor weights')
    parser.add_argument('--video', type=folder, help='box.mp4, in place of fetching it')
    parser.add_argument('--photos', type=folder, help='photographs, in place of fetching them')
    parser.add_argument(
        '--twins', nargs='*', default=[], choices=(stages.NAIVE, stages.REAL),
        help='train these beside the frozen detector, for the same time: naive, nothing frozen; '
        'real, on the first half of the labelled frames, nothing frozen',
    )  # fmt: skip
    choices = ('faster_rcnn', 'mask_rcnn')
    parser.add_argument('--detector', default=choices[0], choices=choices, help='architecture')
    parser.add_argument('--quick', action='store_true', help='all stages in small')
    parser.add_argument('--out', type=Path, default=ROOT / 'build' / 'demo', help='results')
    parser.add_argument(
        '--material', type=Path, default=ROOT / 'build' / 'material', help='what is fetched'
    )
    return parser.parse_args()


def open_demo(arguments: argparse.Namespace, places: Mapping[str, Path]) -> stages.Demo:
    """Read the settings.

    Raises:
        MissingError: `--data` or `--weights` lack something; the message names it.
    """
    file = DEMO / ('two_objects.yaml' if arguments.data else 'cookie_box.yaml')
    settings = yaml.safe_load(file.read_text())
    quick = settings.pop('quick', {})
    settings = merge(settings, quick) if arguments.quick else settings
    if arguments.weights and not arguments.data:
        settings['train']['weights'] = '$WEIGHTS/mobilenet_v2_imagenet.safetensors'
    if arguments.data and not arguments.weights:
        settings['train'].pop('weights')
    settings = expand(settings, places)
    if arguments.data:
        check_inputs(settings)
    if stages.REAL in arguments.twins and 'real_twin' not in settings:
        raise MissingError(f'{file} names no labelled frames to train a real twin on')
    scripts = f'{Path(sys.executable).parent}/'
    names = {str(path): f'${name}' for name, path in places.items() if name != 'DEMO'}
    out = places['OUT']
    return stages.Demo(settings, out, Runner(out, {**names, scripts: '', f'{ROOT}/': ''}))


def expand(value: Any, places: Mapping[str, Path]) -> Any:
    """Return settings with the `$NAME` that paths begin with replaced."""
    if isinstance(value, dict):
        return {key: expand(entry, places) for key, entry in value.items()}
    if isinstance(value, list):
        return [expand(entry, places) for entry in value]
    if isinstance(value, str) and value.startswith('$'):
        name, _, rest = value[1:].partition('/')
        return str(places[name] / rest)
    return value


def check_inputs(settings: Mapping[str, Any]) -> None:
    """Refuse to start without the data.

    Raises:
        MissingError: a file is missing; the message names it.
    """
    wanted = [facts['mesh'] for facts in settings['objects'].values()]
    wanted += [*settings['distractors'], settings['capture']['source']]
    wanted += [facts[key] for facts in settings['evaluate'].values() for key in FILES]
    wanted += [settings['train']['weights']] if 'weights' in settings['train'] else []
    missing = [path for path in wanted if not Path(path).exists()]
    if missing:
        raise MissingError(
            f'{len(missing)} of {len(wanted)} inputs are missing, first {missing[0]}\n\n'
            'demo/two_objects.yaml names what must be in DATA and WEIGHTS. Without both, '
            '`make demo` fetches what it needs.'
        )


def _peer(data: Path, script: str) -> Path | None:
    """Return the peer of the generator: $PEER, or what lies beside the data; None: neither."""
    beside = data.parent / 'peers' / script
    path = Path(os.environ.get('PEER') or beside)
    if path.is_file():
        return path.resolve()
    print(f'no {path}: the generator is measured alone; PEER=... names the script')
    return None


def run_stages(
    demo: stages.Demo, arguments: argparse.Namespace, material: Path
) -> dict[str, stages.Record]:
    """Do all stages, in order; return their records by name.

    Raises:
        DemoError: a command failed, or something cannot be had.
    """
    records: dict[str, stages.Record] = {}
    if 'material' in demo.settings:
        given = Given(arguments.video, arguments.photos)
        records['material'] = stages.fetch(demo, given, material)
        records['model'] = stages.model(demo, records['material'])
    before = list(records.values())
    records['extractor'] = stages.extractor(demo)  # early: without one the rest is in vain
    records['capture'] = stages.capture(demo, before)
    usual = demo.settings['evaluate']
    # What a real twin was trained on is no test for it.
    rest = demo.settings['real_twin']['evaluate'] if stages.REAL in arguments.twins else {}
    for kind in (stages.FROZEN, *arguments.twins):
        images = records['material' if kind == stages.REAL else 'capture']
        trained = stages.train(demo, images, records['extractor'], arguments.detector, kind)
        records[f'train_{kind}'] = trained
        sets = rest if kind == stages.REAL else {**usual, **rest}
        records[f'evaluate_{kind}'] = stages.evaluate(demo, trained, kind, sets)
    records['live'] = stages.live(demo, records[f'train_{stages.FROZEN}'])
    if 'generator' in demo.settings:
        data = arguments.data.resolve()
        peer = _peer(data, demo.settings['generator']['peer'])
        records['generator'] = stages.generator(demo, data, peer)
    return records


def commit() -> str:
    """Return the commit of this checkout, `-dirty` behind it when files differ; '' without git."""
    command = ['git', 'describe', '--always', '--dirty']
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ''
    return done.stdout.strip()


def summary(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what metrics.json holds."""

    def scores(kind: str) -> dict[str, Any]:
        results = records[f'evaluate_{kind}']['results']
        return {
            title: {
                part: {key: row[part][key] for key in METRICS}
                for part in ('boxes', 'masks')
                if row[part]
            }
            for title, row in results.items()
        }

    def chosen(stage: str, *keys: str) -> dict[str, Any]:
        return {key: records[stage]['results'].get(key) for key in keys}

    kinds = [name.removeprefix('train_') for name in records if name.startswith('train_')]
    metrics = {
        'real': {kind: scores(kind) for kind in kinds},
        'extractor': chosen('extractor', 'extractor', 'why'),
        'synthesize': chosen('capture', 'frames', 'images', 'images_per_second'),
        'train': {kind: chosen(f'train_{kind}', 'images', 'steps', 'seconds') for kind in kinds},
        'live': chosen('live', 'inference_ms', 'overhead_ms', 'age_ms_p95'),
        'seconds': round(sum(record['seconds'] for record in records.values())),
    }
    if 'generator' in records:
        keys = ('images_per_second', 'peer_images_per_second', 'rss_growth')
        metrics['generator'] = chosen('generator', *keys)
    return metrics


def check(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> int:
    """Return 1, and say so, when the first real set was not found."""
    title, scores = next(iter(metrics['real'][stages.FROZEN].items()))
    least, found = settings.get('least_AP50', 0.0), scores['boxes']['AP50'] or 0.0
    if found >= least:
        return 0
    print(f'{title}: AP50 {found:.3f} on real frames, wanted {least} or more', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
