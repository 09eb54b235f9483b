"""Command-line flags made from the fields of a configuration, and the configuration back."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synth_detect_ros.config.options import Options, leaves, read_config
from synth_detect_ros.config.presets import fit_detector, preset_path
from synth_detect_ros.config.rules import Rule


def add_options(
    parser: argparse.ArgumentParser,
    cls: type[Options],
    only: Sequence[str] = (),
    *,
    sets: str = 'overrides',
    preset: Callable[[argparse.Namespace], Path | None] = lambda args: None,
) -> None:
    """Add a flag for each option that is in no group, and those all configurations share.

    Args:
        parser: of the verb.
        cls: configuration of the verb.
        only: options that get a flag; () for all.
        sets: option that gets what `--set` says; by default it says what each option is.
        preset: the file that is read where none is given.
    """
    parser.set_defaults(cls=cls, preset=preset)
    parser.add_argument(
        '--config', type=Path, metavar='FILE', help='YAML file of options, or name of a preset'
    )
    parser.add_argument(
        *('--set', '-s'), action='append', default=[], metavar='KEY=VALUE', dest=sets,
        help='any option, groups with a dot: --set optimizer.lr=0.01',
    )  # fmt: skip
    parser.add_argument(
        '--print-config', action='store_true', help='print all options as YAML, explained, and end'
    )
    group = parser.add_argument_group('configuration')
    needed = {name: words.split(' or ') for words in cls.needed for name in words.split(' or ')}
    for name, rule, default in leaves(cls()):
        if '.' not in name and (not only or name in only):
            others = [other for other in needed.get(name, []) if other != name]
            word = f'needed, or --{others[0]}: ' if others else 'needed: ' * (name in needed)
            _add_flag(group, name, rule, default, word)


def _add_flag(group: Any, name: str, rule: Rule, default: Any, word: str) -> None:
    shown = f' (default: {default})' if default not in ('', None) else ''
    settings: dict[str, Any] = {'action': argparse.BooleanOptionalAction}
    if rule.choices:
        settings = {'choices': rule.choices}
    elif rule.hint is not bool:
        kind = 'PATH' if rule.path else {int: 'N', float: 'X'}.get(rule.hint, 'TEXT')
        settings = {'type': rule.hint, 'metavar': kind}
    text = f'{word}{rule.text}{shown}'.replace('%', '%%')
    flag = '--' + name.replace('_', '-')
    group.add_argument(flag, dest=name, default=argparse.SUPPRESS, help=text, **settings)


def config_of(args: argparse.Namespace) -> Options:
    """Read the configuration of a verb: file, then --set, then flags."""
    cls: type[Options] = args.cls
    given = [
        f'{name}={json.dumps(getattr(args, name))}' for name, _, _ in leaves(cls()) if name in args
    ]
    path = args.config or args.preset(args)
    if path is not None and not path.is_file() and len(path.parts) == 1 and not path.suffix:
        path = preset_path(path.name)
    adapt = None if args.config else fit_detector  # what nobody asked for refuses nothing
    return read_config(cls, path, [*vars(args).get('overrides', ()), *given], adapt)
