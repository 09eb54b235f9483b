"""Where the time of a live detector goes: what /diagnostics shows."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Enough for a 95th percentile, few enough to follow a change within seconds.
WINDOW = 100
# Older images are none of a live camera: their stamps come from another clock.
_OLDEST_S = 60
_CLOCKS = (
    'Camera and node have different clocks: synchronise those of their computers; for images of '
    'a bag start the node with use_sim_time:=true and play it with --clock'
)


@dataclass(frozen=True)
class Latency:
    """Times of one processed image [ms].

    Attributes:
        inference: the model's own time: preprocessing, network, postprocessing.
        overhead: of the node: converting in and out, drawing, publishing; waiting not counted.
        wait: in the mailbox, behind the image before.
        age: of the output when it was published, from the stamp of the image on; the camera
            driver and the transport are in it; None where the stamp does not tell it.
        transport: age when it reached the node: of the camera driver and the middleware; None as
            for the age.
        stages: of the inference, by name.
    """

    inference: float
    overhead: float
    wait: float
    age: float | None
    transport: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)


def age_of(stamp: Any, now_ns: int) -> tuple[float | None, str]:
    """Return the age of an image [ms], or None and why its stamp does not tell it.

    Args:
        stamp: builtin_interfaces/Time of the image.
        now_ns: of the node's clock, which stands at 0 as long as simulated time has not begun.
    """
    age_s = (now_ns - stamp.sec * 10**9 - stamp.nanosec) / 1e9
    if not now_ns:
        return None, 'the clock of this node stands at 0: use_sim_time is set, and no /clock comes'
    if not stamp.sec and not stamp.nanosec:
        return None, 'images have no stamp: it is 0. The driver, or what republishes them, sets it'
    if stamp.sec < 0 or stamp.nanosec >= 10**9:
        return None, 'stamps are no times: seconds below 0, or nanoseconds of a second or more'
    if age_s < 0:
        return None, f'stamps lie in the future, by {-age_s:.4g} s. {_CLOCKS}'
    if age_s > _OLDEST_S:
        return None, f'stamps lie in the past, by {age_s:.4g} s. {_CLOCKS}'
    return 1e3 * age_s, ''


class LatencyWindow:
    """Keeps the times of the latest images and counts all of them; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies: deque[Latency] = deque(maxlen=WINDOW)
        self._arrivals: deque[float] = deque(maxlen=WINDOW)
        # The longest time between arrivals since the last result, and those before results [s].
        self._interval = 0.0
        self._intervals: deque[float] = deque(maxlen=WINDOW)
        self._counts = Counter(received=0, dropped=0, broken=0, processed=0, ageless=0)

    def received(self, time_s: float, *, dropped: bool) -> None:
        """Count an image that came.

        Args:
            time_s: when, on a clock that never jumps [s].
            dropped: it replaced one that had waited for its turn.
        """
        with self._lock:
            if self._arrivals:
                self._interval = max(self._interval, time_s - self._arrivals[-1])
            self._arrivals.append(time_s)
            self._counts.update(received=1, dropped=int(dropped))

    def broken(self) -> None:
        """Count an image that could not be converted, or be searched."""
        with self._lock:
            self._counts['broken'] += 1

    def processed(self, latency: Latency) -> None:
        """Add the times of an image whose result is published."""
        with self._lock:
            self._latencies.append(latency)
            self._intervals.append(self._interval)
            self._interval = 0.0
            self._counts.update(processed=1, ageless=int(latency.age is None))

    def summary(self, now_s: float) -> dict[str, float | int]:
        """Return what is worth showing; a key whose times are not known yet is left out."""
        with self._lock:
            window, arrivals = list(self._latencies), list(self._arrivals)
            counts = dict(self._counts)
            intervals = [*self._intervals, self._interval]
        shown: dict[str, float | int] = {'input_hz': _rate(arrivals, now_s)}
        if arrivals:
            shown['interval_ms_max'] = 1e3 * max(*intervals, now_s - arrivals[-1])
        if window:
            inferences, waits = [w.inference for w in window], [w.wait for w in window]
            shown |= {
                'inference_ms': float(np.mean(inferences)),
                'inference_ms_max': max(inferences),
                **{
                    f'{name}_ms': float(np.mean([w.stages[name] for w in window]))
                    for name in window[-1].stages
                },
                'overhead_ms': float(np.mean([w.overhead for w in window])),
                'wait_ms': float(np.mean(waits)),
                'wait_ms_max': max(waits),
            }
        if transports := [w.transport for w in window if w.transport is not None]:
            shown |= {
                'transport_ms': float(np.mean(transports)),
                'transport_ms_max': max(transports),
            }
        if ages := [w.age for w in window if w.age is not None]:
            shown |= {
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
