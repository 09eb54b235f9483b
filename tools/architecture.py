#!/usr/bin/env python3
"""Draw the storeys of the package and who imports whom, from its source: docs/architecture.svg.

    python tools/architecture.py

`STOREYS` is the law that test/test_layering.py holds the imports to.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'synth_detect_ros'
PICTURE = ROOT / 'docs/architecture.svg'

# From the bottom up. A module may import from its own storey and from those before it.
STOREYS = [
    ('errors',),
    ('documents',),
    ('config',),
    ('structures', 'images', 'files', 'folders', 'devices', 'compute'),
    ('geometry',),
    ('rendering',),
    ('dataset',),
    ('modelling', 'detectors'),
    ('bundle',),
    ('report',),
    ('inference',),
    ('evaluation',),
    ('training', 'deployment'),
    ('experiments',),
    ('commands',),
    ('nodes',),
]
# [px]
CELL, HEAD, MARGIN, NAMES, TEXTS = 26, 84, 20, 104, 470
FONT = "font-family='Helvetica, Arial, DejaVu Sans, sans-serif'"
INK, GREY, PAPER, BAND, RULE = '#1f2933', '#66727f', '#ffffff', '#f3f5f8', '#dfe4ea'
# Red, green and blue of the lowest storey, the middle one and the highest; others are mixed.
COLOURS = ((38, 70, 83), (42, 140, 130), (226, 110, 74))


def imports_of(path: Path) -> set[str]:
    """Return the dotted names a module imports, wherever in it the import stands.

    Raises:
        ValueError: an import is relative.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f'{path}:{node.lineno}: relative import')
            names |= {f'{node.module}.{alias.name}' for alias in node.names} | {str(node.module)}
    return names


def parts_imported(path: Path) -> set[str]:
    """Return the folders and modules at the root of the package that a module imports from."""
    names = {name for name in imports_of(path) if name.startswith(f'{PACKAGE.name}.')}
    return {name.split('.')[1] for name in names} - {'__version__'}


def modules_of(part: str) -> list[Path]:
    """Return the modules of a folder, or the one module of that name."""
    return sorted((PACKAGE / part).rglob('*.py')) or [PACKAGE / f'{part}.py']


def purpose_of(part: str) -> str:
    """Return what a folder or module says it is for: the first sentence of its docstring."""
    folder = PACKAGE / part
    path = folder / '__init__.py' if folder.is_dir() else folder.with_suffix('.py')
    text = ast.get_docstring(ast.parse(path.read_text())) or ''
    return ' '.join(text.split('\n\n')[0].split()).rstrip('.:').replace('`', '')


def draw() -> str:
    """Return the picture as SVG: a row and a column a part, a dot where the row imports it."""
    parts = [part for storey in reversed(STOREYS) for part in storey]
    left, size = MARGIN + NAMES + TEXTS, CELL * len(parts)
    width, height = left + size + 2 * MARGIN, HEAD + size + 3 * MARGIN
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}' {FONT} font-size='12' fill='{INK}'>",
        f'<title>Storeys of {PACKAGE.name} and their imports</title>',
        f"<rect width='{width}' height='{height}' fill='{PAPER}'/>",
        *_bands(width),
        *_columns(parts, left),
    ]
    for row, part in enumerate(parts):
        lines += _row(row, part, parts, left)
    foot = (
        'A dot: the row imports from the column. All lie right of the diagonal: '
        'imports go downward only.'
    )
    x, y = width - MARGIN, HEAD + size + 2 * MARGIN
    lines.append(f"<text x='{x}' y='{y}' text-anchor='end' fill='{GREY}'>{foot}</text>")
    return '\n'.join([*lines, '</svg>']) + '\n'


def _bands(width: int) -> list[str]:
    """Return a stripe behind each second storey."""
    stripes, y = [], HEAD
    for number, storey in enumerate(reversed(STOREYS)):
        high = CELL * len(storey)
        if number % 2 == 0:
            stripes.append(
                f"<rect x='{MARGIN // 2}' y='{y}' width='{width - MARGIN}' height='{high}' "
                f"rx='4' fill='{BAND}'/>"
            )
        y += high
    return stripes


def _columns(parts: list[str], left: int) -> list[str]:
    """Return the slanting names above the columns, and a fine line below each."""
    lines = []
    for column, part in enumerate(parts):
        x = left + CELL * column + CELL // 2
        end = HEAD + CELL * column + CELL // 2
        lines.append(f"<path d='M{x} {HEAD - 4}V{end}' stroke='{RULE}'/>")
        lines.append(
            f"<text transform='translate({x + 4} {HEAD - 10}) rotate(-45)' fill='{GREY}' "
            f"font-size='11'>{part}</text>"
        )
    return lines


def _row(row: int, part: str, parts: list[str], left: int) -> list[str]:
    """Return name, purpose, its square on the diagonal, and a dot for each import."""
    y, x = HEAD + CELL * row + CELL // 2, left + CELL * row + CELL // 2
    colour, base = _colour(part), y + 4
    used = set[str]().union(*map(parts_imported, modules_of(part))) - {part}
    last = max([row, *(parts.index(name) for name in used)])
    reach = left + CELL * last + CELL // 2
    return [
        f"<text x='{MARGIN}' y='{base}' font-weight='bold'>{part}</text>",
        f"<text x='{MARGIN + NAMES}' y='{base}' fill='{GREY}' font-size='11'>"
        f'{escape(purpose_of(part), quote=False)}</text>',
        f"<path d='M{x} {y}H{reach}' stroke='{colour}' stroke-opacity='.45'/>",
        f"<rect x='{x - 7}' y='{y - 7}' width='14' height='14' rx='3' fill='{colour}'/>",
        *(
            f"<circle cx='{left + CELL * column + CELL // 2}' cy='{y}' r='4.5' fill='{colour}'/>"
            for column, name in enumerate(parts)
            if name in used
        ),
    ]


def _colour(part: str) -> str:
    floor = next(number for number, storey in enumerate(STOREYS) if part in storey)
    place = floor / (len(STOREYS) - 1) * (len(COLOURS) - 1)
    below = min(int(place), len(COLOURS) - 2)
    ends = zip(COLOURS[below], COLOURS[below + 1], strict=True)
    mixed = (round(a + (place - below) * (b - a)) for a, b in ends)
    return '#' + ''.join(f'{value:02x}' for value in mixed)


if __name__ == '__main__':
    PICTURE.write_text(draw())
    print(PICTURE.relative_to(ROOT))
