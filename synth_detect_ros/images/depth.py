"""16-bit images of sensors with fewer bits, to 8 bits such that white stays white."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Bits of the converters in cameras, whose values stand in 16 bits as they are or shifted up.
_CONVERTERS = (10, 12, 14, 16)
# An image without a value above this tells nothing: the lens is covered, or it is night.
_DARK = 255


class BitDepth:
    """How many bits of 16-bit images hold light: one number for all images of a stream.

    ROS does not say it: drivers send the 10, 12 or 14 bits of a sensor in mono16 or bayer_*16 as
    they are, or shifted up. Not given, it is the least of these that all values so far need, so
    that images are not scaled one by one; what is found is logged, and where a brighter image
    shows that it was too little it grows.

    Args:
        bits: 1 to 16 that are given; 0: to be found.
    """

    def __init__(self, bits: int = 0) -> None:
        self._given, self._found = bits, 0

    def of(self, words: NDArray[np.uint16], encoding: str) -> int:
        """Return the number of bits, these words counted.

        Args:
            words: of an image, at least one.
            encoding: for the log.
        """
        if self._given or self._found == _CONVERTERS[-1]:
            return self._given or self._found
        largest = int(words.max())
        needed = next(bits for bits in _CONVERTERS if largest < 1 << bits)
        if largest > _DARK and needed > self._found:
            if needed < _CONVERTERS[-1] or self._found:
                logger.warning(
                    'Values of %s reach %d: %d bits are taken for white%s. Nodes take '
                    'another number as bits.', encoding, largest, needed,
                    f', no longer {self._found}' if self._found else '',
                )  # fmt: skip
            self._found = needed
        return self.bits

    @property
    def bits(self) -> int:
        """The number as far as it is known."""
        return self._given or self._found or _CONVERTERS[-1]


# Of a stream that is known to use the whole range.
FULL_RANGE = BitDepth(16)


def to_8_bits(pixels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Scale such that black and white stay what they are; for 16 bits as cv_bridge does it.

    Args:
        pixels: uint16 of any shape; uint8 stay as they are.
        bits: of white.
    """
    if pixels.dtype == np.uint8:
        return pixels
    white = (1 << bits) - 1
    scaled = (np.minimum(pixels, white).astype(np.uint32) * 255 + white // 2) // white
    return scaled.astype(np.uint8)
