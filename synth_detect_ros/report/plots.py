"""Plots as SVG, drawn with matplotlib: the same bytes each time, readable on white and on dark.

One string serves as a file of its own and inside a page, whose style may set `--ink`, the colour
of text and axes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

# At least 3:1 against white and against the dark pages' background.
COLOURS = ('#d2601a', '#3b82c4', '#5c8f3a', '#a65fc9', '#a88400', '#1a9093', '#cc4c60', '#7d8894')
MARKERS = 'osD^vPX*'
# Lines of so few points get a mark at each.
MARKED = 12
WIDTH, HEIGHT = 8.4, 2.6  # [inch]
BAR_HEIGHT = 0.27  # [inch]

# Stands for text and axes until the style of the file, or of the page around it, colours them.
_INK = '#123456'
_STYLE = (
    '<style>.plot{--plot-ink:var(--ink,#4a5561)}'
    '@media(prefers-color-scheme:dark){.plot{--plot-ink:var(--ink,#c3ccd5)}}</style>'
)
_SETTINGS: Any = {
    'axes.edgecolor': _INK,
    'axes.labelcolor': _INK,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.axisbelow': True,
    'font.family': 'sans-serif',
    'font.sans-serif': 'DejaVu Sans',
    'font.size': 8,
    'grid.alpha': 0.2,
    'grid.color': _INK,
    'legend.frameon': False,
    'lines.linewidth': 1.4,
    'lines.markersize': 4.5,
    'svg.fonttype': 'none',  # text stays text
    'svg.hashsalt': 'synth_detect_ros',  # without it ids are random
    'text.color': _INK,
    'text.parse_math': False,  # a $ in a name is a $
    'xtick.color': _INK,
    'ytick.color': _INK,
}


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_name: str,
    title: str,
    top: float | None = None,
) -> str:
    """Return lines over a common pair of axes that start at zero, as SVG.

    Args:
        series: x and y of each line, by name; ascending x.
        x_name: below the axis.
        title: what the plot shows, for those who cannot see it.
        top: end of the y axis; None: a little above the data, outliers left out.
    """
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure((WIDTH, HEIGHT), layout='constrained')
        axes = figure.subplots()
        most = [float(np.percentile(y, 98)) for _, y in series.values()]
        high = top or 1.08 * max(most, default=0) or 1.0
        lines = []
        for k, (x, y) in enumerate(series.values()):
            marker = MARKERS[k % len(MARKERS)] if len(x) <= MARKED else ''
            lines += axes.plot(x, y, marker=marker, color=COLOURS[k % len(COLOURS)])
            lines[k].set_clip_on(max(y) > high)  # marks on the border are drawn whole
        axes.set(xlabel=x_name, xlim=(0, None), ylim=(0, high))
        axes.grid()
        figure.legend(lines, list(series), loc='outside right upper')
        return _svg(figure, title)


def bars(values: Mapping[str, float | None], title: str) -> str:
    """Return horizontal bars of numbers in 0..1 as SVG; one without a number stays empty."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure((WIDTH, BAR_HEIGHT * (len(values) + 1)), layout='constrained')
        axes = figure.subplots()
        places = range(len(values))
        drawn = axes.barh(places, [v or 0 for v in values.values()], 0.66, color=COLOURS[0])
        labels = ['-' if v is None else f'{v:.3f}' for v in values.values()]
        axes.bar_label(drawn, labels, padding=4)
        axes.set_yticks(places, list(values))
        axes.tick_params(length=0)
        axes.set(xlim=(0, 1.08), xticks=[], ylim=(len(values) - 0.5, -0.5))
        axes.spines[['left', 'bottom']].set_visible(False)
        return _svg(figure, title)


def _svg(figure: Figure, title: str) -> str:
    file = io.StringIO()
    metadata = {'Title': title, **dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))}
    figure.savefig(file, format='svg', transparent=True, metadata=metadata)
    text = file.getvalue()
    text = text[text.index('<svg') :].replace(_INK, 'var(--plot-ink)')
    # Numbered ids would stand in a page twice; those that are referred to are hashes.
    text = re.sub(r' id="[A-Za-z.0-9]+_\d+"', '', text)
    return text.replace('<svg ', '<svg class="plot" role="img" ', 1).replace('>', f'>{_STYLE}', 1)
