"""Sizes of files beyond which a model is refused before it is read; a user may raise them."""

from __future__ import annotations

from pathlib import Path

from synth_detect_ros import files
from synth_detect_ros.documents import limit
from synth_detect_ros.errors import MeshError

FILE_MB = files.FILE_MB, files.DEFAULT_FILE_MB
TEXTURE_MEGAPIXELS = files.MEGAPIXELS, files.DEFAULT_MEGAPIXELS
# A million triangles take about 0.5 GB while they are read, and minutes for levels of detail.
MEGATRIANGLES = 'SYNTH_DETECT_MAX_MEGATRIANGLES', 5


def check(amount: float, bound: tuple[str, int], what: str) -> None:
    """Refuse an amount beyond a limit.

    Args:
        amount: in the limit's unit, million bytes, pixels or triangles.
        bound: variable and default.
        what: begins the sentence, with the file's name.

    Raises:
        MeshError: the amount is larger; it names the variable that raises the limit.
    """
    name, default = bound
    if amount > limit(name, default):
        kind = {FILE_MB: 'MB', TEXTURE_MEGAPIXELS: 'megapixels'}.get(bound, 'million triangles')
        raise MeshError(
            f'{what} has {amount:.5g} {kind}, more than {limit(name, default):g}: '
            f'reduce it, or set {name} to a larger number'
        )


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file within the limit; of no pipe or device.

    Raises:
        MeshError: it is another kind of file, too large, or cannot be read.
    """
    if not path.is_file():
        raise MeshError(f'{path}: no such file, or not a regular one')
    try:
        check(path.stat().st_size / 1e6, FILE_MB, f'{path}')
        return path.read_bytes()
    except OSError as error:
        raise MeshError(f'{path}: cannot be read: {error.strerror}') from error
