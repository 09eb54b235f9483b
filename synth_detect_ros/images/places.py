"""Where the files of a data set may lie: in its folder, also after links."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from synth_detect_ros.errors import DatasetError, SynthDetectError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')
# Environment variable: with 1, links in data sets may lead out of them.
FOLLOW_LINKS = 'SYNTH_DETECT_FOLLOW_LINKS'


def inside(path: Path, folder: Path, error: type[SynthDetectError]) -> Path:
    """Return the path of a regular file in or below a folder.

    Args:
        path: of the file; a link counts as what it leads to.
        folder: where it must lie; it may be a link.
        error: raised when it is missing, a pipe, device or folder, or lies elsewhere.
    """
    real, root = os.path.realpath(path), os.path.realpath(folder)
    follow = os.environ.get(FOLLOW_LINKS) == '1'
    if not follow and os.path.commonpath([real, root]) != root:
        raise error(
            f'{path}: leads to {real}, outside of {folder}. Copy the file into the folder or, if '
            f'its links are yours, set {FOLLOW_LINKS}=1.'
        )
    try:
        regular = stat.S_ISREG(os.stat(real).st_mode)
    except OSError as reason:
        raise error(f'{path}: cannot be read: {reason.strerror}') from reason
    if not regular:  # a pipe would wait, a device never end
        raise error(f'{path}: cannot be read: not a regular file')
    return path


def images_in(
    folder: Path,
    error: type[SynthDetectError] = DatasetError,
    within: Path | None = None,
) -> list[Path]:
    """Return the PNG and JPEG files in a folder by name, without hidden ones; [] for no folder.

    Args:
        folder: where to look.
        error: raised when one of them is no regular file or leads outside, see `inside`.
        within: folder that no link may lead out of; default: `folder`.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else ()
    return [
        inside(file, within or folder, error)
        for file in files
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith('.')
    ]
