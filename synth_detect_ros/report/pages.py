"""HTML pages, each one file that needs no other: made with jinja2 from `templates/`.

A page extends `base.html.j2` and is put together from the macros of `parts.html.j2`.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from synth_detect_ros.files import encode_image

TEMPLATES = Path(__file__).with_name('templates')
JPEG_QUALITY = 82

# Caption and (H, W, 3) uint8 RGB.
Picture = tuple[str, NDArray[np.uint8]]


def render_page(template: Path, **values: Any) -> bytes:
    """Return a page as the content of a file; values are escaped as HTML.

    Args:
        template: file; those of this package may be extended and imported by their names.
        values: what the template speaks of. One that is missing is an error.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['data_url'] = data_url
    return environment.get_template(template.name).render(values).encode()


def data_url(image: NDArray[np.uint8], width: int) -> str:
    """Return an (H, W, 3) uint8 RGB image as a JPEG data URL, at most `width` pixels wide."""
    if image.shape[1] > width:
        size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    jpeg = encode_image(image, 'jpg', JPEG_QUALITY)
    return f'data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}'
