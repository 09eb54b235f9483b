"""Where the time of a live detector goes: what /diagnostics shows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

# Enough for a 95th percentile, few enough to follow a change within seconds.
WINDOW = 100


@dataclass(frozen=True)
class Timing:
    """Times of one processed image [ms].

    Attributes:
        inference: the model's own time: preprocessing, network, postprocessing.
        overhead: of the node: converting in and out, drawing, publishing; waiting not counted.
        wait: in the mailbox, behind the image before.
        stages: of the inference, by name.
        age: of the output when it was published, from the stamp of the image on; the camera
            driver and the transport are in it.
    """

    inference: float
    overhead: float
    wait: float
    age: float
    stages: Mapping[str, float] = field(default_factory=dict)


class TimingWindow:
    """Keeps the times of the latest images and counts all of them; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timings: deque[Timing] = deque(maxlen=WINDOW)
        self._arrivals: deque[float] = deque(maxlen=WINDOW)
        self._received = self._dropped = self._broken = self._processed = 0

    def arrived(self, time_s: float) -> None:
        """Count an image that came at `time_s` on a clock that never jumps."""
        with self._lock:
            self._arrivals.append(time_s)
            self._received += 1

    def dropped(self) -> None:
        """Count an image that was replaced by a newer one before its turn."""
        with self._lock:
            self._dropped += 1

    def broken(self) -> None:
        """Count an image that could not be converted."""
        with self._lock:
            self._broken += 1

    def processed(self, timing: Timing) -> None:
        """Add the times of an image whose result is published."""
        with self._lock:
            self._timings.append(timing)
            self._processed += 1

    def summary(self, now_s: float) -> dict[str, float | int]:
        """Return what is worth showing; a key whose times are not known yet is left out."""
        with self._lock:
            timings, arrivals = list(self._timings), list(self._arrivals)
            counts = {
                'received': self._received,
                'dropped': self._dropped,
                'broken': self._broken,
                'processed': self._processed,
            }
        shown: dict[str, float | int] = {'input_hz': _rate(arrivals, now_s)}
        if timings:
            ages = [t.age for t in timings]
            stages = timings[-1].stages
            shown |= {
                'inference_ms': float(np.mean([t.inference for t in timings])),
                'inference_ms_max': float(np.max([t.inference for t in timings])),
                **{f'{k}_ms': float(np.mean([t.stages[k] for t in timings])) for k in stages},
                'overhead_ms': float(np.mean([t.overhead for t in timings])),
                'wait_ms': float(np.mean([t.wait for t in timings])),
                'age_ms': float(np.mean(ages)),
                'age_ms_p95': float(np.percentile(ages, 95)),
                'age_ms_max': float(np.max(ages)),
            }
        return shown | counts


def _rate(arrivals: list[float], now_s: float) -> float:
    """Return arrivals a second; it falls when no more come."""
    if len(arrivals) < 2:
        return 0.0
    return (len(arrivals) - 1) / max(now_s - arrivals[0], 1e-9)
