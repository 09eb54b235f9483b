from types import SimpleNamespace

import pytest

from synth_detect_ros.nodes.latency import WINDOW, Latency, LatencyWindow, age_of

NOW = 1_700_000_000


def test_empty_window_shows_only_counts():
    assert LatencyWindow().summary(0.0) == {
        'input_hz': 0.0, 'received': 0, 'dropped': 0, 'broken': 0, 'processed': 0, 'ageless': 0,
    }  # fmt: skip


def test_window_shows_means_over_the_latest_and_counts_of_all():
    window = LatencyWindow()
    for _ in range(WINDOW):
        window.processed(Latency(inference=1e6, overhead=1e6, wait=1e6, age=1e6))
    for i in range(2 * WINDOW):
        window.received(i * 0.1, dropped=i == 5)
        window.processed(Latency(inference=10, overhead=2, wait=1, age=i % 20))
    window.broken()
    summary = window.summary((2 * WINDOW - 1) * 0.1)
    assert summary['input_hz'] == pytest.approx(10)
    assert (summary['inference_ms'], summary['overhead_ms'], summary['wait_ms']) == (10, 2, 1)
    assert (summary['age_ms'], summary['age_ms_max']) == (9.5, 19)
    assert 18 <= summary['age_ms_p95'] <= 19
    counts = [summary[key] for key in ('received', 'dropped', 'broken', 'processed')]
    assert counts == [2 * WINDOW, 1, 1, 3 * WINDOW]


def test_window_shows_means_of_the_stages():
    window = LatencyWindow()
    for network in (10.0, 30.0):
        stages = {'preprocess': 1.0, 'network': network}
        window.processed(Latency(inference=2, overhead=2, wait=1, age=5, stages=stages))
    summary = window.summary(0.0)
    assert (summary['preprocess_ms'], summary['network_ms']) == (1, 20)


def test_longest_interval_is_that_of_the_images_in_the_window():
    window = LatencyWindow()
    for time_s in (0.0, 0.1, 0.4, 0.5):
        window.received(time_s, dropped=False)
    assert window.summary(0.5)['interval_ms_max'] == pytest.approx(300)
    assert window.summary(1.5)['interval_ms_max'] == pytest.approx(1000)
    for i in range(WINDOW + 1):
        window.processed(Latency(inference=10, overhead=2, wait=i, age=7, transport=i / 2))
        window.received(0.6 + 0.1 * i, dropped=False)
    summary = window.summary(0.6 + 0.1 * WINDOW)
    assert summary['interval_ms_max'] == pytest.approx(100)
    assert (summary['wait_ms_max'], summary['transport_ms_max']) == (100, 50)
    assert summary['transport_ms'] == pytest.approx(25.25)


def test_rate_falls_when_no_more_images_come():
    window = LatencyWindow()
    window.received(0.0, dropped=False)
    window.received(1.0, dropped=False)
    assert window.summary(1.0)['input_hz'] == 1.0
    assert window.summary(100.0)['input_hz'] < 0.011


def age(sec, nanosec=0, now=NOW):
    return age_of(SimpleNamespace(sec=sec, nanosec=nanosec), now * 10**9)


def test_age_is_the_time_since_the_stamp():
    assert age(NOW - 1, 750_000_000) == (250.0, '')
    assert age(NOW) == (0.0, '')
    assert age(99, now=100) == (1000.0, '')  # simulated time


@pytest.mark.parametrize(
    ('stamp', 'reason'),
    [
        ((0, 0), 'have no stamp'),
        ((-1, 0), 'no times'),
        ((NOW, 2**32 - 1), 'no times'),
        ((NOW + 5, 0), 'in the future, by 5 s'),
        ((2**31 - 1, 0), 'in the future'),
        ((10**9, 0), 'in the past'),
        ((1, 0), 'in the past'),
    ],
)
def test_stamp_of_no_clock_or_another_gives_no_age_but_a_reason(stamp, reason):
    none, text = age(*stamp)
    assert none is None
    assert reason in text


def test_there_is_no_age_before_simulated_time_begins():
    none, text = age(NOW, now=0)
    assert none is None
    assert 'no /clock comes' in text


def test_images_without_age_count_in_everything_but_the_age():
    window = LatencyWindow()
    window.processed(Latency(inference=10, overhead=2, wait=1, age=None))
    summary = window.summary(0.0)
    assert not [key for key in summary if key.startswith(('age_', 'transport_'))]
    assert (summary['inference_ms'], summary['processed'], summary['ageless']) == (10, 1, 1)
    window.processed(Latency(inference=10, overhead=2, wait=1, age=7))
    summary = window.summary(0.0)
    assert (summary['age_ms'], summary['age_ms_max'], summary['ageless']) == (7, 7, 1)
