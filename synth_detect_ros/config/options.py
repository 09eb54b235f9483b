"""How configurations are declared, checked, read and written: dataclass fields with bounds.

`config.py` declares what can be set; this module is the mechanics. A configuration is a frozen
dataclass derived from `Options` whose fields are made by `option`. It checks itself on
construction, whether it comes from YAML, a command line, ROS parameters or Python.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from synth_detect_ros.errors import ConfigError

OptionsT = TypeVar('OptionsT', bound='Options')

# YAML 1.1 wants a point and a sign in 1.0e-4; what people write instead it takes for text.
YAML_TEXT_NUMBER = re.compile(r'[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+')


def option(
    default: Any,
    help: str,
    *,
    unit: str = '',
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    path: str = '',
    words: Sequence[str] = (),
) -> Any:
    """Declare one field of a configuration.

    Args:
        default: value when nothing is given; a configuration class makes a nested group, `dict` an
            empty mapping.
        help: one sentence for people: YAML comments, `--help`, ROS parameter descriptors.
        unit: SI or otherwise, as it should be shown.
        low: smallest legal number, also for each number of a range.
        high: largest legal number.
        choices: the legal words.
        path: 'always' for a file or folder, 'if there' for what may be a word as well; see
            `resolve_paths`.
        words: that may stand in place of a path and mean something of their own.
    """
    metadata = dict(
        help=help, unit=unit, low=low, high=high, choices=tuple(choices), path=path,
        words=tuple(words),
    )  # fmt: skip
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Base of all configurations.

    Raises:
        ConfigError: on construction, when a value has the wrong type or is out of bounds.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = coerce(getattr(self, field.name), hints[field.name], field.name)
            _check_bounds(value, field)
            object.__setattr__(self, field.name, value)


def coerce(value: Any, hint: Any, key: str) -> Any:
    """Return `value` as the type `hint` asks for: int to float, list to tuple; nothing lossy.

    Raises:
        ConfigError: the value has another type or a sequence another length.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        try:
            return coerce(value, next(a for a in args if a is not type(None)), key)
        except ConfigError as error:
            raise ConfigError(f'{error} (null is legal too)') from None
    if origin is tuple and isinstance(value, list | tuple):
        hints = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(hints) == len(value):
            return tuple(
                coerce(v, h, f'{key}[{i}]')
                for i, (v, h) in enumerate(zip(value, hints, strict=True))
            )
    elif origin is dict and isinstance(value, Mapping):
        return dict(value)
    elif hint is float and _is_number(value):
        return float(value)
    elif hint is str and isinstance(value, Path):
        return str(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    elif isinstance(hint, type) and issubclass(hint, Options) and isinstance(value, Mapping):
        return build(hint, value, key)
    raise ConfigError(f'{key}: wanted {_type_name(hint)}, got {value!r}')


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return YAML_TEXT_NUMBER.fullmatch(value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _type_name(hint: Any) -> str:
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return ' or '.join('null' if a is type(None) else _type_name(a) for a in args)
    if typing.get_origin(hint) is tuple:
        if args[-1] is Ellipsis:
            return f'a list of {_type_name(args[0])}'
        return f'[{", ".join(map(_type_name, args))}]'
    if typing.get_origin(hint) is dict:
        return 'a mapping'
    names = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'text'}
    return names.get(hint, 'a group of options')


def _check_bounds(value: Any, field: dataclasses.Field[Any]) -> None:
    rules, key = field.metadata, field.name
    if value is None or isinstance(value, Options):
        return
    if rules['choices'] and value not in rules['choices']:
        raise ConfigError(
            f'{key}: {value!r} is not known. Choose one of {", ".join(rules["choices"])}.'
        )
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        low, high = rules['low'], rules['high']
        if (low is not None and not number >= low) or (high is not None and not number <= high):
            bounds = f'{"" if low is None else low} .. {"" if high is None else high}'
            raise ConfigError(f'{key}: {number} is out of bounds; wanted {bounds} {rules["unit"]}')
    if isinstance(value, tuple) and 'tuple[float, float]' in str(field.type):
        _check_ordered(value, key)
    if isinstance(value, tuple) and 'tuple[int, int]' in str(field.type):
        _check_ordered(value, key)


def _check_ordered(value: tuple[float, ...], key: str) -> None:
    if value[0] > value[1]:
        raise ConfigError(f'{key}: a range is [lowest, highest]; got {list(value)}')


def build(cls: type[OptionsT], mapping: Mapping[str, Any], source: str = '') -> OptionsT:
    """Make a configuration from nested mappings.

    Args:
        cls: the configuration class.
        mapping: values by field name; what is missing keeps its default.
        source: file or group, for messages.

    Raises:
        ConfigError: an unknown key, wrong type or value out of bounds, with source and key.
    """
    known = {field.name: field for field in dataclasses.fields(cls)}
    for key in mapping:
        if key not in known:
            where = f'{source}: ' if source else ''
            raise ConfigError(
                f'{where}unknown key {key!r}. Choose one of {", ".join(sorted(known))}.'
            )
    try:
        return cls(**dict(mapping))
    except ConfigError as error:
        raise ConfigError(f'{source}: {error}' if source else str(error)) from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands in a mapping twice, of which YAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; see the class."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(':merge'):
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key {key.value!r} stands there twice', key.start_mark
                )
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: the file is missing, no YAML or no mapping, or a key stands there twice.
    """
    try:
        content = yaml.load(path.read_text(), _Loader)
    except FileNotFoundError:
        raise ConfigError(f'{path}: no such file') from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f'{path}: cannot be read as YAML: {error}') from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f'{path}: wanted a mapping of options, got {type(content).__name__}')
    return content


def read_config(
    cls: type[OptionsT], path: Path | None = None, overrides: Sequence[str] = ()
) -> OptionsT:
    """Read a configuration from YAML and apply `group.key=value` overrides, values as YAML.

    Relative paths in the file are taken from the file's folder, those in overrides, as usual on a
    command line, from the working directory. All of them become absolute, so that a stored
    configuration means the same wherever it is read again.

    Raises:
        ConfigError: see `build`; or an override is no `key=value`.
    """
    mapping = {} if path is None else _read_resolved(cls, path)
    apply_overrides(mapping, overrides)
    mapping = resolve_paths(cls, mapping, Path.cwd())
    source = 'options' if path is None else f'options over {path}' if overrides else str(path)
    return build(cls, mapping, source)


def apply_overrides(mapping: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set `group.key=value` overrides, values as YAML, in nested mappings.

    Raises:
        ConfigError: an override is no `key=value`, or its group is a value.
    """
    for override in overrides:
        dotted, equals, text = override.partition('=')
        if not equals:
            raise ConfigError(f'override {override!r}: wanted group.key=value')
        group = mapping
        *parents, key = dotted.strip().split('.')
        for parent in parents:
            group = group.setdefault(parent, {})
            if not isinstance(group, dict):
                raise ConfigError(f'override {override!r}: {parent} is not a group')
        try:
            group[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f'override {override!r}: the value is no YAML: {error}') from error


def _read_resolved(cls: type[Options], path: Path) -> dict[str, Any]:
    return resolve_paths(cls, read_mapping(path), path.absolute().parent)


def resolve_paths(cls: type[Options], mapping: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return `mapping` with the relative paths in it joined to `folder`, and `~` expanded.

    Options declared with `path='always'` are joined whenever they are not empty; those with
    `path='if there'` (a word, a file, or `file.py:function`) only if that file exists.
    """
    hints, resolved = typing.get_type_hints(cls), dict(mapping)
    for field in dataclasses.fields(cls):
        value, hint = resolved.get(field.name), hints[field.name]
        if isinstance(value, Mapping) and isinstance(hint, type) and issubclass(hint, Options):
            resolved[field.name] = resolve_paths(hint, value, folder)
        elif value in field.metadata['words']:
            continue
        elif isinstance(value, str) and value and field.metadata['path']:
            file, colon, function = value.partition(':')
            joined = folder / Path(file).expanduser()
            if field.metadata['path'] == 'always':
                resolved[field.name] = str(folder / Path(value).expanduser())
            elif joined.is_file():
                resolved[field.name] = f'{joined}{colon}{function}'
    return resolved


def to_mapping(config: Options) -> dict[str, Any]:
    """Return nested plain values, for YAML; `build` reads them back."""

    def plain(value: Any) -> Any:
        if isinstance(value, Options):
            return to_mapping(value)
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def to_yaml(config: Options, indent: int = 0) -> str:
    """Return YAML text of a configuration, every option explained by a comment."""
    lines = []
    for field in dataclasses.fields(config):
        value, pad = getattr(config, field.name), '  ' * indent
        if isinstance(value, Options):
            lines += [f'{pad}# {field.metadata["help"]}', f'{pad}{field.name}:']
            lines += [to_yaml(value, indent + 1).rstrip('\n')]
        else:
            plain = list(value) if isinstance(value, tuple) else value
            text = yaml.safe_dump(plain, default_flow_style=True, width=10_000)
            text = text.removesuffix('\n').removesuffix('...').strip()
            lines.append(f'{pad}{field.name}: {text}  # {_comment(field)}')
    return '\n'.join(lines) + '\n'


def _comment(field: dataclasses.Field[Any]) -> str:
    rules = field.metadata
    text = f'{rules["help"]} [{rules["unit"]}]' if rules['unit'] else str(rules['help'])
    return f'{text}: {" | ".join(rules["choices"])}' if rules['choices'] else text


def leaves(config: Options, prefix: str = '') -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Yield (dotted name, field, value) of every option that is not a group, depth first."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Options):
            yield from leaves(value, f'{prefix}{field.name}.')
        else:
            yield f'{prefix}{field.name}', field, value
