"""Pieces of HTML pages: pictures as data URLs, tables, plots as SVG; no scripts, no downloads."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

# Caption and (H, W, 3) uint8 RGB.
Picture = tuple[str, NDArray[np.uint8]]

STYLE = """
:root { --ink: #1d2730; --soft: #5b6875; --line: #dfe5ea; --accent: #c8500a; --back: #f6f8fa; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 34px; line-height: 1.2; margin: 0 0 8px; letter-spacing: -.02em; }
h2 { font-size: 22px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 span { color: var(--accent); margin-right: 10px; font-variant-numeric: tabular-nums; }
h3 { font-size: 15px; margin: 22px 0 8px; color: var(--soft); font-weight: 600; }
p { margin: 6px 0 14px; max-width: 76ch; } .soft { color: var(--soft); }
section { background: #fff; border: 1px solid var(--line); border-radius: 12px;
  padding: 24px 28px; margin: 22px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 24px 0; }
.tile { background: #fff; border: 1px solid var(--line); border-radius: 12px; padding: 14px 18px; }
.tile b { display: block; font-size: 28px; line-height: 1.25; letter-spacing: -.02em; }
.tile span { color: var(--soft); font-size: 13.5px; display: block; line-height: 1.35; }
.gallery { display: grid; gap: 10px; margin: 12px 0;
  grid-template-columns: repeat(var(--columns), 1fr); }
.wide { overflow-x: auto; } .wide svg { min-width: 640px; }
figure { margin: 0; } figure img { width: 100%; display: block; border-radius: 6px; }
figcaption { font-size: 12.5px; color: var(--soft); padding-top: 3px; }
table { border-collapse: collapse; margin: 12px 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 16px 6px 0; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; font-size: 14px; }
pre { background: var(--back); border: 1px solid var(--line); border-radius: 8px; padding: 12px;
  font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; margin: 8px 0; }
@media (max-width: 640px) { main { padding: 24px 12px 48px; } section { padding: 18px 16px; }
  .gallery { grid-template-columns: repeat(min(var(--columns), 2), 1fr); } }
summary { cursor: pointer; color: var(--soft); font-size: 14px; margin-top: 14px; }
"""
COLOURS = ('#c8500a', '#2b6cb0', '#4a7c2c', '#7b3fa0', '#b08d00', '#0f8b8d', '#a0303f', '#555f6b')

# Lines of so few points get a dot at each.
MARKED = 12


def page(title: str, lead: str, body: Iterable[str]) -> str:
    """Return the whole HTML page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>'
        f'<h1>{escape(title)}</h1><p class="soft">{escape(lead)}</p>\n'
        + '\n'.join(body)
        + '\n</main></body></html>\n'
    )


def section(number: int, title: str, text: str, *parts: str) -> str:
    """Return one numbered card."""
    head = f'<h2><span>{number}</span>{escape(title)}</h2><p>{escape(text)}</p>'
    return f'<section>{head}{"".join(parts)}</section>'


def tiles(numbers: Mapping[str, str]) -> str:
    """Return big numbers with what they are below."""
    cells = (
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in numbers.items()
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def gallery(pictures: Sequence[Picture], columns: int, width: int, title: str = '') -> str:
    """Return pictures in a grid, each scaled down to `width` pixels if wider."""
    figures = ''.join(
        f'<figure><img alt="{escape(caption)}" src="{data_url(image, width)}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>'
        for caption, image in pictures
    )
    head = f'<h3>{escape(title)}</h3>' if title else ''
    grid = f'--columns:{columns}'
    return f'{head}<div class="gallery" style="{grid}">{figures}</div>'


def data_url(image: NDArray[np.uint8], width: int) -> str:
    """Return an (H, W, 3) RGB image as a JPEG data URL at most `width` pixels wide."""
    scale = min(1.0, width / image.shape[1])
    if scale < 1:
        size = (width, round(image.shape[0] * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    jpeg = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg.tobytes()).decode()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others numbers."""
    top = ''.join(f'<th>{escape(cell)}</th>' for cell in head)
    body = ''.join(
        '<tr>' + ''.join(f'<td>{escape(cell)}</td>' for cell in row) + '</tr>' for row in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def commands(lines: Sequence[str], seconds: float) -> str:
    """Return the commands behind a stage, folded."""
    text = escape('\n'.join(lines))
    return f'<details><summary>Commands, {seconds:.0f} s</summary><pre>{text}</pre></details>'


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_name: str,
    y_name: str,
    top: float | None = None,
) -> str:
    """Return lines over a common pair of axes as SVG; the y axis starts at zero.

    Args:
        series: x and y of each line, by name.
        x_name: below the axis.
        y_name: of the plot.
        top: end of the y axis; None: a little above the data, outliers left out.
    """
    width, height, left, right, bottom = 1040, 280, 46, 250, 40
    x_max = max(max(x) for x, _ in series.values()) or 1.0
    y_max = top or max(float(np.percentile(y, 98)) for _, y in series.values()) * 1.08 or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (width - left - right) * x / x_max
        return across, 10 + (height - bottom - 10) * (1 - min(y, y_max) / y_max)

    parts = []
    for k in range(5):
        value = y_max * k / 4
        y = place(0, value)[1]
        parts.append(f'<path d="M{left} {y:.1f}H{width - right}" stroke="#dfe5ea"/>')
        parts.append(_text(left - 6, y + 4, f'{value:.2f}', 'end'))
        x = place(x_max * k / 4, 0)[0]
        parts.append(_text(x, height - 22, f'{x_max * k / 4:.1f}', 'middle'))
    for k, (name, (xs, ys)) in enumerate(series.items()):
        colour = COLOURS[k % len(COLOURS)]
        places = [place(*xy) for xy in zip(xs, ys, strict=True)]
        points = ' '.join(f'{x:.1f},{y:.1f}' for x, y in places)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" '
                     'stroke-width="1.8" stroke-linejoin="round"/>')  # fmt: skip
        if len(places) <= MARKED:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places
            ]
        parts.append(_text(width - right + 20, 26 + 18 * k, name, 'start', colour))
    parts.append(_text((left + width - right) / 2, height - 4, x_name, 'middle'))
    return _svg(width, height, y_name, parts)


def bars(values: Mapping[str, float | None], title: str) -> str:
    """Return horizontal bars of numbers in 0..1 as SVG; one without a number stays empty."""
    width, step, left = 1040, 26, 300
    parts = []
    for k, (name, value) in enumerate(values.items()):
        y = step * k
        length = (width - left - 60) * (value or 0)
        parts.append(_text(left - 8, y + 16, name, 'end'))
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{step - 8}" '
                     f'fill="{COLOURS[0]}"/>')  # fmt: skip
        text = '-' if value is None else f'{value:.3f}'
        parts.append(_text(left + length + 6, y + 16, text, 'start'))
    return _svg(width, step * len(values), title, parts)


def _text(x: float, y: float, text: str, anchor: str, colour: str = '#5b6875') -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}'
        '</text>'
    )


def _svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """Return a picture that is shown inside a page and, as a file of its own, alone."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="DejaVu Sans, sans-serif" font-size="12" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def titled(title: str, picture: str) -> str:
    """Return a picture below its title."""
    return f'<h3>{escape(title)}</h3><div class="wide">{picture}</div>'
