"""Rendering behind a node's back: whatever goes wrong in it is known to the node."""

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
    assert job.error is error and not job.running


def test_success_is_no_failure(monkeypatch):
    def report(config, progress, stop):
        progress(3, 7, 'timing')

    monkeypatch.setattr(render_job, 'synthesize', report)
    job = RenderJob(SynthesizeConfig())
    job.stop()
    assert (job.error, job.done, job.total, job.timing) == (None, 3, 7, 'timing')
