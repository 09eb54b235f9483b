"""Values that files should not hold, and trees of JSON and YAML with one of them inside."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import yaml

DEEP, BOMB = 'DEEPHERE', 'BOMBHERE'
NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 7, 255, 256, 65536, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**30, -(2**31)),
    *(0.5, -0.5, 1.5, 1e-30, 1e9, 1e30, 1e308, -1e308, float('nan'), float('inf'), -float('inf')),
)
TEXTS = (
    *('', ' ', 'a', '0', '-', '.', '..', '/', '../../../etc/passwd', '/dev/zero', 'no/such/file'),
    *(
        '\x00',
        '\u202e',
        'ü',
        '\u4f60\u597d',
        '\ud800',
        'x' * 5000,
        'a\nb',
        '%s%n',
        '{}',
        '~',
        'null',
    ),
    *('NaN', '1e999', '0x10', '9' * 400, '2020-01-01', DEEP, BOMB),
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {'a': 1}, {'': []}, [0] * 300)


def odd_value(rng: Random) -> Any:
    """Return a value of any type that is rarely meant."""
    return copy.deepcopy(rng.choice(rng.choice((NUMBERS, TEXTS, OTHERS))))


def mutate_tree(tree: Any, rng: Random) -> Any:
    """Return a tree of mappings and lists with one place changed."""
    tree = copy.deepcopy(tree)
    places = list(_places(tree))
    if not places:
        return odd_value(rng)
    parent, key = rng.choice(places)
    how = rng.randrange(9)
    if how < 5:
        parent[key] = odd_value(rng)
    elif how == 5:
        del parent[key]
    elif how == 6:
        _add(parent, key, rng)
    elif how == 7:
        other, place = rng.choice(places)
        parent[key] = copy.deepcopy(other[place])
    else:
        parent[key] = _other_type(parent[key])
    return tree


def _places(tree: Any) -> Any:
    """Yield (container, key) of every value in a tree."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from _places(tree[key])


def _add(parent: Any, key: Any, rng: Random) -> None:
    if isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    else:
        parent[rng.choice(('', 'x', 'id', 'name', 'format', '__class__', 'size'))] = odd_value(rng)


def _other_type(value: Any) -> Any:
    """Return the same value in another type: a number as text, a value in a list, ..."""
    if isinstance(value, list):
        return dict(enumerate(map(str, value))) if len(value) < 3 else str(value)
    if isinstance(value, dict):
        return list(value)
    if isinstance(value, str):
        return [value]
    return str(value)


def json_text(tree: Any) -> bytes:
    """Return a tree as JSON, also one with NaN; what stands for nesting becomes nesting."""
    text = json.dumps(tree)
    text = text.replace(f'"{DEEP}"', '[' * 5000 + ']' * 5000)
    return text.replace(f'"{BOMB}"', '[' + ','.join(['0'] * 200_000) + ']').encode()


def yaml_text(tree: Any) -> bytes:
    """Return a tree as YAML; what stands for nesting becomes nesting, for aliases aliases."""
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=False)
    text = text.replace(DEEP, '[' * 3000 + ']' * 3000)
    levels = ['&a0 [' + ','.join('x' * 9) + ']']
    levels += [f'&a{n} [' + ','.join([f'*a{n - 1}'] * 9) + ']' for n in range(1, 9)]
    return text.replace(BOMB, '[' + ','.join(levels) + ']').encode(errors='surrogatepass')
