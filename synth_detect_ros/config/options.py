"""How configurations are checked, read and written.

The other modules of this folder declare what can be set. A configuration is a frozen pydantic
model derived from `Options` whose fields are made by `rules.option`. It checks itself on
construction, whether it comes from YAML, a command line, ROS parameters or Python.

A group is an option whose type is another `Options`. Where its type is a union of them, as in
`detector: FasterRCNN | SSD`, see `rules.choose`.
"""

from __future__ import annotations

import os
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from synth_detect_ros.config.rules import Rule, choose, groups_of, keys_in, rules_of, sentence
from synth_detect_ros.documents import parse_yaml, read_yaml, short
from synth_detect_ros.errors import ConfigError

OptionsT = TypeVar('OptionsT', bound='Options')


class Options(BaseModel):
    """Base of all configurations.

    Attributes:
        needed: options without a default that the work needs, `a or b` where one suffices.
        renamed: keys of older versions, those in groups with a dot, and what they are called now.

    Raises:
        ConfigError: on construction, when a key is unknown, or a value has the wrong type or is
            out of bounds.
    """

    model_config = ConfigDict(
        frozen=True, extra='forbid', allow_inf_nan=False, validate_default=True, defer_build=True
    )
    needed: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[dict[str, str]] = {}

    def __init__(self, **values: Any) -> None:
        cls = type(self)
        old = {key: cls.renamed[key] for key in keys_in(values) if key in cls.renamed}
        if old:
            names = '; '.join(f'{key!r}, now {new}' for key, new in old.items())
            raise ConfigError(f'unknown key {names}')
        for key in values:
            if key not in cls.model_fields:
                known = ', '.join(sorted(cls.model_fields))
                raise ConfigError(f'unknown key {key!r}. Choose one of {known}.')
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(sentence(cls, values, error.errors()[0])) from None

    def replace(self: OptionsT, **changes: Any) -> OptionsT:
        """Return a copy with other values, checked like any configuration."""
        return type(self)(**{**dict(self), **changes})

    def require(self, *names: str, **others: Any) -> None:
        """Refuse what is empty but needed for the work at hand.

        Args:
            names: of options, as in `needed`, which counts where none are given.
            others: values that are needed besides.

        Raises:
            ConfigError: it names all that are empty.
        """
        given = {**dict(self), **others}
        wanted = (*(names or self.needed), *others)
        missing = [name for name in wanted if not any(given[key] for key in name.split(' or '))]
        if missing:
            name = type(self).__name__.removesuffix('Config')
            words = re.sub(r'(?<=[a-z])(?=[A-Z])', '-', name).lower()  # export-model
            give = 'give it' if len(missing) == 1 else 'give each of them'
            name = missing[0].split(' or ')[0]
            flag = f'--{name.replace("_", "-")}, or -p {name}:= of a node'
            raise ConfigError(f'{words} needs {", ".join(missing)}: {give} ({flag})')


@overload
def build(cls: type[OptionsT], mapping: Mapping[str, Any], source: str = '') -> OptionsT: ...
@overload
def build(cls: types.UnionType, mapping: Mapping[str, Any], source: str = '') -> Any: ...
def build(cls: Any, mapping: Mapping[str, Any], source: str = '') -> Any:
    """Make a configuration from nested mappings.

    Args:
        cls: the configuration class, or a union of several.
        mapping: values by field name; what is missing keeps its default.
        source: file or group, for messages.

    Raises:
        ConfigError: an unknown key, wrong type or value out of bounds, with source and key.
    """
    try:
        return choose(groups_of(cls), mapping)(**mapping)
    except ConfigError as error:
        raise ConfigError(f'{source}: {error}' if source else str(error)) from None


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: the file is missing, not YAML or not a mapping, or a key is not text or given
            twice.
    """
    content = read_yaml(path, ConfigError)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f'{path}: wanted a mapping of options, got {type(content).__name__}')
    return content


def read_config(
    cls: type[OptionsT],
    path: Path | None = None,
    overrides: Sequence[str] = (),
    adapt: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None,
) -> OptionsT:
    """Read a configuration from YAML and apply `group.key=value` overrides, values as YAML.

    Relative paths in the file are taken from the file's folder, those in overrides, as usual on a
    command line, from the working directory. All of them become absolute, so that a stored
    configuration means the same wherever it is read again.

    Args:
        cls: the configuration class.
        path: of the file; None: there is none.
        overrides: see above.
        adapt: makes of the file's mapping and that of the overrides what is taken of the file.

    Raises:
        ConfigError: see `build`; or an override is not `key=value`.
    """
    mapping: dict[str, Any] = {}
    if path is not None:
        mapping = resolve_paths(cls, read_mapping(path), path.absolute().parent)
    if adapt is not None:
        over: dict[str, Any] = {}
        apply_overrides(over, overrides)
        mapping = adapt(mapping, over)
    apply_overrides(mapping, overrides)
    mapping = resolve_paths(cls, mapping, Path.cwd())
    source = 'options' if path is None else f'options over {path}' if overrides else str(path)
    return build(cls, mapping, source)


def apply_overrides(mapping: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set `group.key=value` overrides, values as YAML, in nested mappings.

    Raises:
        ConfigError: an override is not `key=value`, or its group is a value.
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
        group[key] = parse_yaml(text, f'override {short(repr(override))}', ConfigError)


def resolve_paths(cls: Any, mapping: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return `mapping` with the relative paths in it joined to `folder`, and `~` expanded.

    Options declared with `path='always'` are joined whenever they are not empty; those with
    `path='if there'` (a word, a file, or `file.py:function`) only if that file exists.

    Args:
        cls: the configuration class, or a union of several.
        mapping: some of its values; what is wrong in it stays as it is.
        folder: of the file it stands in.
    """
    rules = {name: rule for group in groups_of(cls) for name, rule in rules_of(group).items()}
    resolved = dict(mapping)
    for name, rule in rules.items():
        value = mapping.get(name)
        if isinstance(value, Mapping):
            resolved[name] = resolve_paths(rule.hint, value, folder)
        elif isinstance(value, str) and value and value not in rule.words:
            file, colon, function = value.partition(':')
            joined = folder / os.path.expanduser(file)
            if rule.path == 'always':
                resolved[name] = str(folder / os.path.expanduser(value))
            elif rule.path and joined.is_file():
                resolved[name] = f'{joined}{colon}{function}'
    return resolved


def to_mapping(config: Options) -> dict[str, Any]:
    """Return nested plain values, for YAML; `build` reads them back."""
    return config.model_dump(mode='json')


def flatten(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Return the values of nested mappings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        flat |= flatten(value, f'{prefix}{name}.') if inner else {prefix + name: value}
    return flat


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """Return in which options two configurations differ, and how, by their dotted names."""
    one, other = flatten(there), flatten(here)
    return {
        name: f'{name} is {one.get(name)} there, {other.get(name)} here'
        for name in {**other, **one}
        if one.get(name) != other.get(name)
    }


def to_yaml(config: Options, indent: int = 0) -> str:
    """Return YAML text of a configuration, every option explained by a comment."""
    lines, pad = [], '  ' * indent
    for name, rule in rules_of(type(config)).items():
        value = getattr(config, name)
        if isinstance(value, Options):
            lines += [f'{pad}# {rule.help}', f'{pad}{name}:', to_yaml(value, indent + 1).rstrip()]
        else:
            plain = list(value) if isinstance(value, tuple) else value
            text = yaml.safe_dump(plain, default_flow_style=True, width=10_000)
            text = text.removesuffix('\n').removesuffix('...').strip()
            choices = f': {" | ".join(rule.choices)}' if len(rule.choices) > 1 else ''
            lines.append(f'{pad}{name}: {text}  # {rule.text}{choices}')
    return '\n'.join(lines) + '\n'


def leaves(config: Options, prefix: str = '') -> Iterator[tuple[str, Rule, Any]]:
    """Yield (dotted name, rule, value) of every option that is not a group, depth first."""
    for name, rule in rules_of(type(config)).items():
        value = getattr(config, name)
        if isinstance(value, Options):
            yield from leaves(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', rule, value
