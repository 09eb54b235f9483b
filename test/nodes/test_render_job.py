"""Rendering in a thread of the node: whatever goes wrong in it, the node gets to know."""

import cv2
import pytest

from synth_detect_ros.config import SynthesizeConfig
from synth_detect_ros.errors import RenderingError
from synth_detect_ros.nodes import render_job
from synth_detect_ros.nodes.render_job import RenderJob


@pytest.mark.parametrize(
    'error',
    [ValueError('a bug'), cv2.error('no memory'), RenderingError('no EGL'), OSError(28, '')],
)
def test_any_failure_is_reported(monkeypatch, error):
    def fail(config, progress, stop):
        raise error

    monkeypatch.setattr(render_job, 'synthesize', fail)
    job = RenderJob(SynthesizeConfig())
    job.stop()
    with pytest.raises(type(error)) as raised:
        job.finished()
    assert raised.value is error


def test_success_is_no_failure(monkeypatch):
    def report(config, progress, stop):
        progress(3, 7, 'timing')

    monkeypatch.setattr(render_job, 'synthesize', report)
    job = RenderJob(SynthesizeConfig())
    job.stop()
    assert job.finished()
    assert (job.done, job.total, job.timing) == (3, 7, 'timing')


def test_job_in_progress_is_not_finished_until_it_is_stopped(monkeypatch):
    def work(config, progress, stop):
        while not stop():
            pass

    monkeypatch.setattr(render_job, 'synthesize', work)
    job = RenderJob(SynthesizeConfig())
    assert not job.finished()
    job.stop()
    assert job.finished()
