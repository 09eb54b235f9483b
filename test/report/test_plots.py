"""Plots: the same bytes each time, points where they belong, colours for white and for dark."""

import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from synth_detect_ros.report.plots import COLOURS, MARKED, bars, curves

SVG = '{http://www.w3.org/2000/svg}'


def texts(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter(f'{SVG}text')]


def line(svg, colour):
    """Return the points of the line of a colour, (N, 2)."""
    style = f'stroke: {colour}'
    (path, *_) = (
        node.get('d')
        for node in ElementTree.fromstring(svg).iter(f'{SVG}path')
        if style in node.get('style', '') and 'fill: none' in node.get('style')
    )
    return np.array(re.findall(r'[ML] (\S+) (\S+)', path), float)


def draw():
    return curves({'one': ([1, 2, 4], [0.25, 0.5, 1.0]), 'two': ([0, 3], [0, 0])}, 'steps', 't', 1)


def test_plots_are_the_same_each_time():
    assert draw() == draw()
    assert bars({'a': 0.5}, 't') == bars({'a': 0.5}, 't')


def test_points_lie_where_their_numbers_say():
    first, second, third = line(draw(), COLOURS[0])
    # Twice the steps, half of the way.
    np.testing.assert_allclose((second - first) * 2, third - second, atol=0.01)
    zero, _ = line(draw(), COLOURS[1])
    np.testing.assert_allclose(zero[1] - third[1], 4 * (zero[1] - first[1]) * 1.0, atol=0.01)


def test_names_stay_text_and_mean_nothing_else():
    svg = curves({'a $x$ <b> & _c': ([0, 1], [0, 1])}, 'x <y>', 'title <t>')
    assert {'a $x$ <b> & _c', 'x <y>'} <= set(texts(svg))
    assert ElementTree.fromstring(svg).find(f'{SVG}title').text == 'title <t>'


def test_bars_are_as_long_as_their_numbers_and_one_without_stays_empty():
    svg = bars({'half': 0.5, 'none': None, 'whole': 1.0}, 't')
    shown = texts(svg)
    assert shown[:3] == ['half', 'none', 'whole'] and set(shown[3:]) == {'0.500', '-', '1.000'}
    lengths = [
        np.ptp([float(x) for x, _ in re.findall(r'[ML] (\S+) (\S+)', node.get('d'))])
        for node in ElementTree.fromstring(svg).iter(f'{SVG}path')
        if f'fill: {COLOURS[0]}' in node.get('style', '')
    ]
    assert lengths[1] == 0 and lengths[0] * 2 == pytest.approx(lengths[2], abs=0.01)


def test_outliers_are_cut_off_at_the_top():
    loss = np.ones(200)
    loss[3] = 1000.0
    drawn = line(curves({'loss': (range(200), loss)}, 'x', 'y'), COLOURS[0])
    assert np.ptp(drawn[:, 1]) > 0 and drawn[-1, 1] < 20  # 1 is near the top
    assert 'clip-path' in curves({'loss': (range(200), loss)}, 'x', 'y')


def test_lines_of_few_points_are_marked():
    def marks(count):
        svg = curves({'a': (range(count), range(count))}, 'x', 'y')
        return len([n for n in ElementTree.fromstring(svg).iter(f'{SVG}use')])

    assert marks(MARKED) > marks(MARKED + 1)


def test_plot_of_nothing_is_empty_axes():
    assert 'minutes' in texts(curves({}, 'minutes', 't'))


def contrast(a, b):
    """Return the contrast of two colours, 1..21 (WCAG 2.2)."""

    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize('back', ['#ffffff', '#1a2027'])
def test_lines_are_seen_on_white_and_on_dark(back):
    assert min(contrast(colour, back) for colour in COLOURS) >= 3
    text = re.search(r'--ink,(#\w+)\)}' + ('@' if back == '#ffffff' else '}'), draw())[1]
    assert contrast(text, back) >= 4.5


def test_no_id_stands_in_a_page_twice_and_pyplot_stays_away():
    ids = re.findall(r' id="([^"]+)"', draw() + bars({'a': 0.5}, 't'))
    assert len(ids) == len(set(ids))
    assert 'matplotlib.pyplot' not in sys.modules
