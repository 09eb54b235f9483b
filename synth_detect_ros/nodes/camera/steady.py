"""What a camera says again and again counts, a single odd message does not; imports no ROS."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from synth_detect_ros.geometry.camera import Camera

ValueT = TypeVar('ValueT')

# Intrinsics are taken when they came so often in a row, or once and then no others for so long.
_TAKEN, _ALONE_S = 3, 2.0
# Others that stay for so long are another camera: longer than a driver that changes its mode
# sends what fits neither mode.
OTHER_TIMES, OTHER_S = 10, 5.0


class Streak(Generic[ValueT]):
    """How long one thing has been said without anything else between.

    Attributes:
        value: what was said last; None at first, and after None was said.
    """

    def __init__(self) -> None:
        self.value: ValueT | None = None
        self._times, self._since = 0, 0.0

    def hear(self, value: ValueT | None, time_s: float) -> None:
        """Take note of what is said, None of something that cannot be used.

        Args:
            value: compared with `==`.
            time_s: on a clock that never jumps [s].
        """
        if value is None or self.value is None or value != self.value:
            self.value, self._times, self._since = value, 0, time_s
        self._times += 1

    def lasts(self, times: int, seconds: float, time_s: float) -> bool:
        """Return whether the value was said so often and for so long."""
        said = self.value is not None and self._times >= times
        return said and time_s - self._since >= seconds


class SteadyCamera:
    """The intrinsics that a capture goes by.

    Args:
        kept: those of the frames that are kept; None: none is kept yet.
    """

    def __init__(self, kept: Camera | None = None) -> None:
        self.kept = kept
        self._said = Streak[Camera]()

    def hear(self, camera: Camera | None, time_s: float) -> None:
        """Take note of what came, None of intrinsics that make no sense."""
        self._said.hear(camera, time_s)

    def now(self, time_s: float) -> Camera | None:
        """Return the intrinsics of an image that comes now; None while they are in doubt."""
        said = self._said
        if self.kept is not None:
            return self.kept if said.value == self.kept else None
        taken = said.lasts(_TAKEN, 0.0, time_s) or said.lasts(1, _ALONE_S, time_s)
        return said.value if taken else None

    def other(self, time_s: float) -> Camera | None:
        """Return the other camera that has taken the place of that of the kept frames."""
        said = self._said
        if self.kept is None or said.value == self.kept:
            return None
        return said.value if said.lasts(OTHER_TIMES, OTHER_S, time_s) else None


class SteadyStream:
    """What the images of a topic are like; single odd ones do not count."""

    def __init__(self) -> None:
        self._like = ''
        self._said = Streak[str]()

    def hear(self, like: str, time_s: float) -> str:
        """Take note of an image; return what images were like before, when they have changed.

        Args:
            like: what it is like, size and encoding say.
            time_s: on a clock that never jumps [s].
        """
        self._said.hear(like, time_s)
        first = not self._like and self._said.lasts(_TAKEN, 0.0, time_s)
        changed = like != self._like and self._said.lasts(OTHER_TIMES, OTHER_S, time_s)
        if not first and not changed:
            return ''
        before, self._like = self._like, like
        return before


def difference(now: Camera, before: Camera) -> str:
    """Return in words how intrinsics differ, at least in one thing."""
    parts = []
    if now.size != before.size:
        parts.append('{}x{} pixels in place of {}x{}'.format(*now.size, *before.size))
    for i, j, name in ((0, 0, 'fx'), (1, 1, 'fy'), (0, 2, 'cx'), (1, 2, 'cy'), (0, 1, 'skew')):
        if now.K[i, j] != before.K[i, j]:
            parts.append(f'{name} {now.K[i, j]:.6g} in place of {before.K[i, j]:.6g}')
    if now.distortion_model != before.distortion_model or not np.array_equal(now.D, before.D):
        parts.append('another distortion')
    return ', '.join(parts)
