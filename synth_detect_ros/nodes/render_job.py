"""Rendering a data set in a thread, so that the node still answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from synth_detect_ros.compute.timing import Timing
from synth_detect_ros.config import BUILTIN, CaptureConfig, SynthesizeConfig
from synth_detect_ros.config.options import read_config
from synth_detect_ros.dataset.synthesize import synthesize
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.rendering.objects import read_objects


def read_render_config(capture: CaptureConfig) -> SynthesizeConfig:
    """Read what to render over a background set, and its models once: errors show before capture.

    Raises:
        ConfigError: no configuration is named, or the one that is cannot be used.
        MeshError: a model cannot be used.
    """
    if not capture.synthesize:
        raise ConfigError(
            'synthesize: render needs a configuration file, see config/synthesize.yaml'
        )
    config = read_config(SynthesizeConfig, Path(capture.synthesize))
    for objects in (config.objects, config.distractors):
        if objects not in ('', BUILTIN):
            read_objects(Path(objects))
    return config.replace(backgrounds=capture.out)


class RenderJob:
    """Renders in worker processes, which a thread watches.

    Args:
        config: of the data set.

    Attributes:
        done: images made so far, those of former runs included.
        total: images of the data set.
        timing: of this run.
    """

    def __init__(self, config: SynthesizeConfig) -> None:
        self.done, self.total, self.timing = 0, config.count, Timing(0, 0, 0.0, {})
        self._stop = threading.Event()
        thread = ThreadPoolExecutor(1, 'render')
        self._result = thread.submit(synthesize, config, self._progress, self._stop.is_set)

    def finished(self) -> bool:
        """Return whether the job has ended; raise the error that ended it."""
        if self._result.done():
            self._result.result()
        return self._result.done()

    def stop(self) -> None:
        """End after the images in progress; a later job on the same folder resumes."""
        self._stop.set()
        wait([self._result])

    def _progress(self, done: int, total: int, timing: Timing) -> None:
        self.done, self.total, self.timing = done, total, timing
