"""What the row `memory` makes of its figures."""

import pytest

from soak.ros.memory import judge


def readings(**changes):
    row = {'rss': 5e8, 'age_ms_max': 90.0, 'wait_ms_max': 15.0, 'interval_ms_max': 17.0}
    return [{**row, **changes}] * 10


def test_flat_memory_and_images_that_wait_for_no_other_hold():
    assert judge(readings()) == ''
    assert judge(readings() + readings(rss=5.04e8)) == ''
    assert judge(readings(age_ms_max=900.0)) == ''  # of the transport, or a long inference


@pytest.mark.parametrize(
    ('rows', 'why'),
    [
        (readings() + readings(rss=5.06e8), 'memory went from 476.8 to 482.6 MB'),
        (readings() + readings(rss=4.94e8), 'memory went from'),
        (readings() + readings(wait_ms_max=60.0), 'waited 60 ms, .* every 17 ms (10 of 20'),
        ([{'rss': 5e8}] * 4, 'no ages on /diagnostics'),
    ],
)
def test_what_does_not_hold_is_said(rows, why):
    start, _, end = why.partition('.*')
    assert start in judge(rows) and end in judge(rows)
