"""Run all benchmarks beside their peers; write build/bench/results.json and print one table.

    python bench/run.py --data DATA --weights WEIGHTS [--only generator] [--quick]

Each benchmark is a script of its own beside this one, with more options and tables. What a run has
measured stays when the next one measures something else: with `--only` the rest is kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import yaml
from report import machine_and_versions, read_results, results_table, write_results

HERE = Path(__file__).parent
OUT = HERE.parent / 'build' / 'bench'
WEIGHTS_FILE = 'mobilenet_v2_imagenet.safetensors'
REAL = Path('real', 'cookie_box')
# Enough for detections that a comparison of boxes means something on.
MODEL_IMAGES, MODEL_STEPS = 320, 200


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--data', type=Path, required=True, help='folder of models, backgrounds')
    parser.add_argument('--weights', type=Path, required=True, help='folder of extractor weights')
    parser.add_argument('--peer', type=Path, required=True, help='plain_pyrender.py')
    parser.add_argument('--model', type=Path, help='bundle; default: a quickly trained one')
    parser.add_argument('--fast-model', type=Path, help='the same of the preset dense_cpu')
    parser.add_argument('--peers-python', type=Path, help='interpreter that has the heavy peers')
    parser.add_argument('--only', nargs='*', help='benchmarks to run; default: all')
    parser.add_argument('--quick', action='store_true', help='short runs: does it work?')
    return parser.parse_args()


def synth_detect(*words: object) -> None:
    """Run the package's own command line."""
    code = 'import sys; from synth_detect_ros.commands.main import main; sys.exit(main())'
    subprocess.run([sys.executable, '-c', code, *map(str, words)], check=True)


def quick_model(data: Path, weights: Path, folder: Path, preset: str) -> Path:
    """Return the bundle of a detector of a preset, trained for a minute or two."""
    out = folder / preset
    if (out / 'bundle').is_dir():
        return out / 'bundle'
    if not (folder / 'dataset').is_dir():
        quick_dataset(data, folder)
    synth_detect(
        'train', '--config', preset, '--dataset', folder / 'dataset', '--out', out,
        '--steps', MODEL_STEPS, '--set', f'detector.weights={weights / WEIGHTS_FILE}',
    )  # fmt: skip
    return out / 'bundle'


def quick_dataset(data: Path, folder: Path) -> None:
    """Render some images of a box over real backgrounds."""
    folder.mkdir(parents=True, exist_ok=True)
    mesh = data.resolve() / REAL / 'model' / 'cookiebox.obj'
    objects = {'objects': [{'name': 'cookie_box', 'mesh': str(mesh), 'unit': 'm'}]}
    (folder / 'objects.yaml').write_text(yaml.safe_dump(objects))
    synth_detect(
        'synthesize', '--objects', folder / 'objects.yaml', '--out', folder / 'dataset',
        '--backgrounds', data / 'backgrounds' / 'xtion_tabletop', '--count', MODEL_IMAGES,
    )  # fmt: skip


def commands(options: argparse.Namespace) -> dict[str, list[object]]:
    """Return the arguments of each benchmark's script."""
    peers = ['--peers-python', options.peers_python] if options.peers_python else []
    live: list[object] = []
    fast: list[object] = []
    wanted = set(options.only or ('inference', 'live', 'transport', 'fast'))
    source, given = options.data / REAL / 'images', (options.data, options.weights, OUT / 'model')
    if {'inference', 'live', 'transport'} & wanted:
        live = ['--model', options.model or quick_model(*given, 'fast_cpu'), '--source', source]
    if 'fast' in wanted:
        fast = ['--model', options.fast_model or quick_model(*given, 'dense_cpu')]
        fast += ['--source', source, *peers]
    return {
        'generator': ['--data', options.data, '--peer', options.peer, *peers],
        'training': [],
        'inference': live,
        'fast': fast,
        'live': [*live, '--camera', options.data / REAL / 'camera.yaml'],
        'transport': live[:2],
    }


def main() -> int:
    options = parse()
    failed = []
    results = {result.name: result for result in read_results(OUT / 'results.json')}
    for name, words in commands(options).items():
        if options.only and name not in options.only:
            continue
        print(f'== {name}', flush=True)
        part = OUT / f'{name}.json'
        part.unlink(missing_ok=True)
        command = [sys.executable, HERE / f'{name}.py', *words, '--json', part]
        command += ['--quick'] if options.quick else []
        if subprocess.run([str(word) for word in command], check=False).returncode:
            failed.append(name)
        results |= {result.name: result for result in read_results(part)}
        write_results(OUT / 'results.json', results.values())
    print(*(f'{key}: {value}' for key, value in machine_and_versions().items()), sep='\n')
    print(results_table(results.values()))
    if failed:
        print(f'failed: {", ".join(failed)}', file=sys.stderr)
    return bool(failed)


if __name__ == '__main__':
    sys.exit(main())
