"""Pages: escaped, self-contained, and nothing wider than a telephone."""

import re
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError

from synth_detect_ros.report.pages import TEMPLATES, data_url, render_page
from synth_detect_ros.report.plots import curves

PICTURE = ('a <b>', np.full((30, 90, 3), 80, np.uint8))


def render(folder: Path, body: str, **values) -> str:
    template = folder / 'own.html.j2'
    template.write_text(
        "{% extends 'base.html.j2' %}{% import 'parts.html.j2' as parts %}"
        f'{{% block body %}}{body}{{% endblock %}}'
    )
    return render_page(template, **{'title': 'title', **values}).decode()


def test_what_is_wide_scrolls_alone(tmp_path):
    plot = curves({'a': ([0, 1], [0, 1])}, 'x', 'y')
    body = "{{ parts.table(['', 'n'], [['row', '1']]) }}{{ parts.plot('t', plot) }}"
    text = render(tmp_path, body, plot=plot)
    assert re.findall(r'<div class="wide"><(table|svg)', text) == ['table', 'svg']
    assert '.wide { overflow-x: auto; }' in text


def test_galleries_have_two_columns_at_most_on_a_telephone(tmp_path):
    text = render(tmp_path, '{{ parts.gallery([picture], 5, 320) }}', picture=PICTURE)
    assert 'style="--columns:5"' in text and 'min(var(--columns), 2)' in text


def test_text_is_escaped_and_nothing_comes_from_outside(tmp_path):
    body = (
        "{{ parts.gallery([picture], 1, 40, '<h>') }}{{ parts.table(['<a>'], [['<c>']]) }}"
        "{{ parts.tiles({'<k>': '<v>'}) }}{{ parts.commands(['<x>', '<y>'], 1) }}"
    )
    text = render(tmp_path, body, title='<t>', picture=PICTURE)
    for raw in ('<t>', '<h>', '<a>', '<c>', '<k>', '<v>', '<x>', '<y>', 'a <b>'):
        assert raw not in text
    assert not re.search(r'(src|href)="(?!data:)', text) and '@import' not in text


def test_gallery_of_none_is_empty(tmp_path):
    assert '<figure' not in render(tmp_path, '{{ parts.gallery([], 3, 100) }}')


def test_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match='note'):
        render_page(TEMPLATES / 'experiment.html.j2', title='t')


@pytest.mark.parametrize(('width', 'size'), [(45, (15, 45)), (200, (30, 90))])
def test_pictures_are_scaled_down_and_never_up(width, size):
    import base64  # noqa: PLC0415

    import cv2  # noqa: PLC0415

    kind, _, data = data_url(PICTURE[1], width).partition(',')
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert kind == 'data:image/jpeg;base64' and image.shape[:2] == size
