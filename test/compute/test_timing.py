"""Stage times add up, whoever reports them."""

import pytest

from synth_detect_ros.compute.timing import Stopwatch, Timing


def test_a_run_without_images_took_nothing() -> None:
    nothing = Timing(0, 2, 0.0, {})
    assert nothing.rate == 0 and nothing.summary() == '0.0 images/s'
    assert nothing.to_mapping()['ms_per_image'] == {}


def test_a_watch_adds_up_stages_until_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 10.0, 13.0, 20.0, 24.0])
    monkeypatch.setattr('time.perf_counter', lambda: next(times))
    watch = Stopwatch()
    for name in ('scene', 'write', 'scene'):
        with watch.stage(name):
            pass
    assert watch.take() == {'scene': 5.0, 'write': 3.0}
    assert watch.take() == {}


def test_a_stage_that_fails_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2.0])
    monkeypatch.setattr('time.perf_counter', lambda: next(times))
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.stage('scene'):
        raise KeyError
    assert watch.take() == {'scene': 2.0}


def test_reports_add_up_in_any_order() -> None:
    start = Timing(0, 2, 0.0, {})
    reports = [(16, {'scene': 1.0, 'write': 0.5}), (16, {'scene': 2.0}), (8, {'sensor': 0.25})]
    forward, backward = start, start
    for images, stages in reports:
        forward = forward.plus(images, 4.0, stages)
    for images, stages in reversed(reports):
        backward = backward.plus(images, 4.0, stages)
    assert forward == backward
    assert forward.images == 40 and forward.rate == 10
    assert sum(forward.stages.values()) == sum(sum(s.values()) for _, s in reports)


def test_the_summary_names_the_largest_stages_an_image() -> None:
    timing = Timing(10, 2, 2.0, {'write': 0.01, 'scene': 0.2, 'encode': 0.03, 'compose': 0.1})
    assert timing.summary() == '5.0 images/s (scene 20 ms, compose 10 ms, encode 3 ms)'
    assert timing.to_mapping() == {
        'images': 10,
        'workers': 2,
        'wall_s': 2.0,
        'images_per_second': 5.0,
        'ms_per_image': {'write': 1.0, 'scene': 20.0, 'encode': 3.0, 'compose': 10.0},
    }
