"""Where the time of a live detector goes: what /diagnostics shows."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

# Enough for a 95th percentile, few enough to follow a change within seconds.
WINDOW = 100


@dataclass(frozen=True)
class Latency:
    """Times of one processed image [ms].

    Attributes:
        inference: the model's own time: preprocessing, network, postprocessing.
        overhead: of the node: converting in and out, drawing, publishing; waiting not counted.
        wait: in the mailbox, behind the image before.
        age: of the output when it was published, from the stamp of the image on; the camera
            driver and the transport are in it.
        stages: of the inference, by name.
    """

    inference: float
    overhead: float
    wait: float
    age: float
    stages: Mapping[str, float] = field(default_factory=dict)


class LatencyWindow:
    """Keeps the times of the latest images and counts all of them; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies: deque[Latency] = deque(maxlen=WINDOW)
        self._arrivals: deque[float] = deque(maxlen=WINDOW)
        self._counts = Counter(received=0, dropped=0, broken=0, processed=0)

    def received(self, time_s: float, *, dropped: bool) -> None:
        """Count an image that came.

        Args:
            time_s: when, on a clock that never jumps [s].
            dropped: it replaced one that had waited for its turn.
        """
        with self._lock:
            self._arrivals.append(time_s)
            self._counts.update(received=1, dropped=int(dropped))

    def broken(self) -> None:
        """Count an image that could not be converted."""
        with self._lock:
            self._counts['broken'] += 1

    def processed(self, latency: Latency) -> None:
        """Add the times of an image whose result is published."""
        with self._lock:
            self._latencies.append(latency)
            self._counts['processed'] += 1

    def summary(self, now_s: float) -> dict[str, float | int]:
        """Return what is worth showing; a key whose times are not known yet is left out."""
        with self._lock:
            window, arrivals = list(self._latencies), list(self._arrivals)
            counts = dict(self._counts)
        shown: dict[str, float | int] = {'input_hz': _rate(arrivals, now_s)}
        if window:
            inferences, ages = [w.inference for w in window], [w.age for w in window]
            shown |= {
                'inference_ms': float(np.mean(inferences)),
                'inference_ms_max': max(inferences),
                **{
                    f'{name}_ms': float(np.mean([w.stages[name] for w in window]))
                    for name in window[-1].stages
                },
                'overhead_ms': float(np.mean([w.overhead for w in window])),
                'wait_ms': float(np.mean([w.wait for w in window])),
                'age_ms': float(np.mean(ages)),
                'age_ms_p95': float(np.percentile(ages, 95)),
                'age_ms_max': max(ages),
            }
        return shown | counts


def _rate(arrivals: list[float], now_s: float) -> float:
    """Return arrivals a second; it falls when no more come."""
    if len(arrivals) < 2:
        return 0.0
    return (len(arrivals) - 1) / max(now_s - arrivals[0], 1e-9)
