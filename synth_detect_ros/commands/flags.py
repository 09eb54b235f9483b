"""Command-line flags made from the fields of a configuration, and the configuration back."""

from __future__ import annotations

import argparse
import json
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synth_detect_ros.config.options import Options, leaves, read_config
from synth_detect_ros.config.presets import preset_path


def add_options(
    parser: argparse.ArgumentParser, cls: type[Options], only: Sequence[str] = ()
) -> None:
    """Add a flag for each option of `cls` that is in no group, and those all commands share."""
    parser.set_defaults(cls=cls)
    parser.add_argument(
        '--config', type=Path, metavar='FILE', help='YAML file of options, or name of a preset'
    )
    parser.add_argument(
        *('--set', '-s'), action='append', default=[], metavar='KEY=VALUE', dest='overrides',
        help='any option, groups with a dot: --set detector.backbone=resnet50',
    )  # fmt: skip
    parser.add_argument(
        '--print-config', action='store_true', help='print all options as YAML, explained, and end'
    )
    group, hints = parser.add_argument_group('configuration'), typing.get_type_hints(cls)
    for name, field, default in leaves(cls()):
        if '.' in name or (only and name not in only):
            continue
        rules, hint = field.metadata, hints[name]
        unit = f' [{rules["unit"]}]' if rules['unit'] else ''
        shown = f' (default: {default})' if default not in ('', None) else ''
        settings: dict[str, Any] = {'action': argparse.BooleanOptionalAction}
        if hint is not bool:
            settings = {'type': hint, 'metavar': _metavar(hint, rules)}
            settings['choices'] = rules['choices'] or None
        text = f'{rules["help"]}{unit}{shown}'.replace('%', '%%')
        flag = '--' + name.replace('_', '-')
        group.add_argument(flag, dest=name, default=argparse.SUPPRESS, help=text, **settings)


def _metavar(hint: type, rules: typing.Mapping[str, Any]) -> str | None:
    if rules['choices']:
        return None
    return 'PATH' if rules['path'] else {int: 'N', float: 'X'}.get(hint, 'TEXT')


def config_of(args: argparse.Namespace) -> Any:
    """Read the configuration of a command: file, then --set, then flags."""
    given = [
        f'{name}={json.dumps(getattr(args, name))}'
        for name, _, _ in leaves(args.cls())
        if name in args
    ]
    path = args.config
    if path is not None and not path.is_file() and len(path.parts) == 1 and not path.suffix:
        path = preset_path(path.name)
    return read_config(args.cls, path, [*args.overrides, *given])
