"""Pages: escaped, self-contained, and nothing wider than a telephone."""

import re

import numpy as np

from synth_detect_ros.report.html import curves, gallery, page, section, table, titled

PICTURE = ('a <b>', np.full((30, 90, 3), 80, np.uint8))


def test_what_is_wide_scrolls_alone():
    wide = [
        table(('', 'n'), [('row', '1')]),
        titled('t', curves({'a': ([0, 1], [0, 1])}, 'x', 'y')),
    ]
    for part in wide:
        assert re.search(r'<div class="wide"><(table|svg)', part)
    text = page('title', 'lead', [section(1, 'head', 'text', *wide)])
    assert '.wide { overflow-x: auto; }' in text


def test_galleries_have_two_columns_at_most_on_a_telephone():
    text = page('title', 'lead', [gallery([PICTURE], 5, 320)])
    assert 'style="--columns:5"' in text and 'min(var(--columns), 2)' in text


def test_text_is_escaped_and_nothing_comes_from_outside():
    text = page('<t>', '<lead>', [gallery([PICTURE], 1, 40, '<h>'), table(('<a>',), [('<c>',)])])
    for raw in ('<t>', '<lead>', '<h>', '<a>', '<c>', 'a <b>'):
        assert raw not in text
    assert not re.search(r'(src|href)="(?!data:)', text) and '@import' not in text


def test_gallery_of_none_is_empty():
    assert '<figure' not in gallery([], 3, 100)
