"""What an option means and may be, and the sentence that says what is wrong with a value.

`option` declares the field of a pydantic model and attaches a `Rule`, from which pydantic's
checks, YAML comments, command-line flags and ROS parameter descriptors are made.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import reprlib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails, core_schema

from synth_detect_ros.errors import ConfigError

Group = type[BaseModel]

_before = core_schema.no_info_before_validator_function
_after = core_schema.no_info_after_validator_function

# YAML 1.1 wants a point and a sign in 1.0e-4; what people write instead it takes for text.
_TEXT_NUMBER = re.compile(r'[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+')
# A value as messages show it: a file can hold one that is, written out, longer than the memory.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 3, 12, 12, 12
_SHORT.maxstring = _SHORT.maxother = 200
# A message that begins with the key it is about.
_KEYED = re.compile(r'[\w.\[\]]+: ')
# By Python's name of a type, and by pydantic's where it is another.
_WANTED = {
    'bool': 'true or false',
    'int': 'a whole number',
    'float': 'a number',
    'str': 'text',
    'string': 'text',
    'dict': 'a mapping',
    'finite_number': 'a finite number',
}


@dataclass(frozen=True)
class Rule:
    """What one option means and may be; `option` makes it and explains its parts.

    Attributes:
        hint: type of the option, as `rules_of` fills it in.
    """

    help: str
    unit: str
    low: float | None
    high: float | None
    path: str
    words: tuple[str, ...]
    hint: Any = None

    @property
    def text(self) -> str:
        """Help and unit."""
        return f'{self.help} [{self.unit}]' if self.unit else self.help

    @property
    def bounds(self) -> str:
        """What a number may be; '' for any."""
        if self.low is None or self.high is None:
            sides = ((self.low, 'or more'), (self.high, 'or less'))
            return ''.join(f'{bound} {side}' for bound, side in sides if bound is not None)
        return f'{self.low} .. {self.high}'

    @property
    def choices(self) -> tuple[str, ...]:
        """The legal words; () where there are others."""
        return typing.get_args(self.hint) if typing.get_origin(self.hint) is Literal else ()

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Have pydantic convert nothing lossy, check each number, and make groups of a union."""
        groups, schema = groups_of(source), self._strict(handler(source))
        if len(groups) > 1:
            return _before(functools.partial(_member, groups), schema)
        is_range = {*_parts(source)} & {tuple[float, float], tuple[int, int]}
        return _after(_ordered, schema) if is_range else schema

    def _strict(self, schema: Any) -> Any:
        kind = schema['type']
        if kind == 'nullable':
            return schema | {'schema': self._strict(schema['schema'])}
        if kind == 'tuple':
            return schema | {'items_schema': [self._strict(s) for s in schema['items_schema']]}
        if kind in ('int', 'float'):
            bounds = {'ge': self.low, 'le': self.high}
            schema = schema | {k: v for k, v in bounds.items() if v is not None}
        if kind in ('bool', 'int', 'float', 'str'):
            schema = schema | {'strict': True}
        read = {'float': _number, 'str': _text}.get(kind)
        return _before(read, schema) if read else schema


def _number(value: Any) -> Any:
    is_number = isinstance(value, str) and _TEXT_NUMBER.fullmatch(value)
    return float(value) if is_number else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _ordered(value: tuple[float, float] | None) -> tuple[float, float] | None:
    if value is not None and value[0] > value[1]:
        raise ValueError(f'a range is [lowest, highest]; got {list(value)}')
    return value


def option(
    default: Any,
    help: str,
    *,
    unit: str = '',
    low: float | None = None,
    high: float | None = None,
    path: str = '',
    words: Sequence[str] = (),
) -> Any:
    """Declare one field of a configuration.

    Args:
        default: value when nothing is given; a configuration class makes a nested group, `dict` an
            empty mapping; `...`: it must be given.
        help: one sentence for people: YAML comments, `--help`, ROS parameter descriptors.
        unit: SI or otherwise, as it should be shown.
        low: smallest legal number, also for each number of a tuple.
        high: largest legal number.
        path: 'always' for a file or folder, 'if there' for what may be a word as well; see
            `options.resolve_paths`.
        words: that may stand in place of a path and mean something of their own.
    """
    value = {'default_factory': default} if isinstance(default, type) else {'default': default}
    rule = Rule(help, unit, low, high, path, tuple(words))
    field = Field(**value, description=rule.text)
    field.metadata.append(rule)
    return field


@functools.cache
def rules_of(cls: Group) -> dict[str, Rule]:
    """Return the rule of each option of a configuration class, by name."""
    return {
        name: dataclasses.replace(rule, hint=field.annotation)
        for name, field in cls.model_fields.items()
        for rule in field.metadata
        if isinstance(rule, Rule)
    }


def groups_of(hint: Any) -> tuple[Group, ...]:
    """Return the configuration classes of a type: itself, or the members of a union."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return (hint,)
    return tuple(group for part in _parts(hint) if part is not hint for group in groups_of(part))


def _parts(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if is_union else (hint,)


def _member(members: Sequence[Group], value: Any) -> Any:
    return choose(members, value)(**value) if isinstance(value, Mapping) else value


def choose(members: Sequence[Group], mapping: Mapping[str, Any]) -> Group:
    """Return the member of a union that a mapping means.

    Members are told apart by the option that has other words in each; without it the first one is
    meant.

    Raises:
        ConfigError: it is none of them, or has an option of another.
    """
    if len(members) == 1:
        return members[0]
    first, second = rules_of(members[0]), rules_of(members[1])
    tag = next(k for k in first if first[k].choices and first[k].choices != second[k].choices)
    by_word = {word: member for member in members for word in rules_of(member)[tag].choices}
    word = mapping.get(tag, first[tag].choices[0])
    if word not in list(by_word):
        raise ConfigError(f'{tag}: {word!r} is not known. Choose one of {", ".join(by_word)}.')
    keys = {other: set(keys_of(member)) for other, member in by_word.items()}
    foreign: dict[str, list[str]] = {}  # keys by the words whose options they are
    for key in keys_in(mapping):
        others = [other for other in keys if key in keys[other]]
        if others and word not in others and key.rpartition('.')[0] not in foreign:
            foreign[key] = others
    if foreign:
        problems = '; '.join(
            f'unknown key {key!r}: it is an option of {tag} {", ".join(others)}, not of {word}'
            for key, others in foreign.items()
        )
        raise ConfigError(problems)
    return by_word[word]


def keys_of(cls: Group) -> Iterator[str]:
    """Yield all keys of a configuration class, those in groups with a dot."""
    for name, rule in rules_of(cls).items():
        yield name
        yield from (f'{name}.{key}' for group in groups_of(rule.hint) for key in keys_of(group))


def keys_in(mapping: Mapping[str, Any]) -> Iterator[str]:
    """Yield all keys of nested mappings, those in groups with a dot."""
    for key, value in mapping.items():
        yield str(key)
        if isinstance(value, Mapping):
            yield from (f'{key}.{below}' for below in keys_in(value))


def sentence(cls: Group, values: Mapping[str, Any], problem: ErrorDetails) -> str:
    """Return what is wrong with a value: its key, what was wanted and what came.

    Args:
        cls: the configuration class.
        values: that it was made of.
        problem: what pydantic says.
    """
    kind, place, given = problem['type'], problem['loc'], problem['input']
    if not place:  # what a configuration says about several options
        return str(problem['ctx']['error'])
    name = str(place[0])
    rule = rules_of(cls)[name]
    inside = [f'[{part}]' if isinstance(part, int) else f'.{part}' for part in place[1:]]
    key = name + ''.join(inside).removesuffix('.[key]')
    if kind == 'value_error':
        text = str(problem['ctx']['error'])
        return f'{key}.{text}' if _KEYED.match(text) else f'{key}: {text}'
    if kind == 'literal_error':
        words = problem['ctx']['expected'].replace("'", '').replace(' or ', ', ')
        return f'{key}: {_SHORT.repr(given)} is not known. Choose one of {words}.'
    if kind in ('greater_than_equal', 'less_than_equal'):
        short = _SHORT.repr(given)
        return f'{key}: {short} is out of bounds; wanted {rule.bounds} {rule.unit}'.rstrip()
    wanted = _WANTED.get(kind.removesuffix('_type'))
    if wanted is None:  # of a list or group, which is shown whole
        key, wanted, given = name, _type_name(rule.hint), values.get(name)
    got = _SHORT.repr(given) if name in values else 'none'
    null = ' (null is legal too)' if type(None) in _parts(rule.hint) else ''
    return f'{key}: wanted {wanted}, got {got}{null}'


def _type_name(hint: Any) -> str:
    groups, hint = groups_of(hint), _parts(hint)[0]
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is tuple and args[-1] is Ellipsis:
        return f'a list of {_type_name(args[0])}'
    if origin is tuple and len(args) > 2 and len(set(args)) == 1:
        return f'{len(args)} times {_type_name(args[0])}'
    if origin is tuple:
        return f'[{", ".join(map(_type_name, args))}]'
    if len(groups) == 1:
        return f'a group of options ({", ".join(rules_of(hint))})'
    return _WANTED.get(getattr(origin, '__name__', ''), 'a group of options')
