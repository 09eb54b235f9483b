"""Rendering a data set behind a node's back, so that the node still answers."""

from __future__ import annotations

import logging
import threading

from synth_detect_ros.compute.timing import Timing
from synth_detect_ros.config import SynthesizeConfig
from synth_detect_ros.dataset.synthesize import synthesize

logger = logging.getLogger(__name__)


class RenderJob:
    """Renders in a thread, which leaves the work to processes.

    Args:
        config: of the data set.

    Attributes:
        done: images there are.
        total: images there will be.
        timing: what this run has taken.
        error: why it failed, None as long as it did not.
    """

    def __init__(self, config: SynthesizeConfig) -> None:
        self.done, self.total, self.timing = 0, config.count, Timing(0, 0, 0.0, {})
        self.error: Exception | None = None
        self._config = config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name='render')
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread is still at work."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End after the images in work; a later job on the same folder goes on."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            synthesize(self._config, self._progress, self._stop.is_set)
        except Exception as error:  # a thread that dies in silence reads as success
            logger.debug('rendering failed', exc_info=True)
            self.error = error

    def _progress(self, done: int, total: int, timing: Timing) -> None:
        self.done, self.total, self.timing = done, total, timing
