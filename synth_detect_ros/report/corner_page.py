"""A page on which to click the corners of a box's faces in photographs; it writes the box file.

One self-contained file, so that it works on any machine with a browser, also far from the robot.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path

from synth_detect_ros.errors import ConfigError, ImageLimitError
from synth_detect_ros.files import decode_image, make_folder, read_image_data, write_atomic
from synth_detect_ros.modelling.cuboid import FACES
from synth_detect_ros.report.pages import TEMPLATES, render_page

PAGE = 'corners.html'
# Media type by the first bytes of a file.
_KINDS = {b'\xff\xd8': 'image/jpeg', b'\x89P': 'image/png'}


def write_corner_page(photos: Sequence[Path], folder: Path) -> Path:
    """Write the page.

    Args:
        photos: JPEG or PNG files; the box file will name them relative to `folder`.
        folder: gets the page; the box file belongs beside it.

    Returns:
        The page.

    Raises:
        ConfigError: a photograph is missing or no image.
        StorageError: the page cannot be written.
    """
    entries = [_entry(photo, folder) for photo in photos]
    facts = {'photos': entries, 'faces': list(FACES)}
    make_folder(folder)
    page = folder / PAGE
    template = TEMPLATES / 'corners.html.j2'
    write_atomic(page, render_page(template, title='Corners of a box', facts=facts))
    return page


def _entry(photo: Path, folder: Path) -> dict[str, str]:
    """Return path and content of a photograph."""
    try:
        data = read_image_data(photo)
        image = decode_image(data)
    except OSError as error:
        raise ConfigError(f'photos: {photo}: {error.strerror}') from error
    except ImageLimitError as error:
        raise ConfigError(f'photos: {photo}: {error}') from error
    if image is None or data[:2] not in _KINDS:
        raise ConfigError(f'photos: {photo} is no complete PNG or JPEG image')
    path = os.path.relpath(photo.absolute(), folder.absolute())
    url = f'data:{_KINDS[data[:2]]};base64,{base64.b64encode(data).decode()}'
    return {'path': Path(path).as_posix(), 'url': url}
