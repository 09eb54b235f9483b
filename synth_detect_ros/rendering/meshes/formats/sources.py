"""The files that a CAD file names: found as people write them, and only in the model's folders.

A name counts as it is written, then with other slashes, other case and other encodings, then by
its last part in the folders where textures usually lie. Nothing is read but regular files in and
below the folder of the CAD file, the model's folder around `meshes/` (of Gazebo and ROS, with
`materials/` in it), and the folders that the caller gives.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.limits import read_regular
from synth_detect_ros.rendering.meshes.formats.textures import Texture, decode_texture

logger = logging.getLogger(__name__)

# Where textures lie, seen from the folder of the mesh and from that of the model.
USUAL = ('', 'materials/textures', 'materials', 'textures', 'texture', 'tex', 'maps', 'images')
# How names in files without a statement of their encoding are written.
ENCODINGS = ('utf-8', 'gb18030', 'cp1252', 'shift_jis', 'cp1251')
# Files of a folder that are compared by name.
MOST_FILES = 20_000
# Characters of a name beyond which it is none.
LONGEST_NAME = 1000
# Folders of meshes, the model's folder being the one around them, and how far below meshes lie.
MESHES, DEEPEST = ('meshes', 'mesh'), 3
_SCHEME = re.compile(r'^(file|model|package)://', re.IGNORECASE)


class SourceFiles:
    """The files of one model; a resolver for trimesh.

    Attributes:
        path: of the CAD file; names are relative to its folder.
        file_name: its name.
        plain: what is missing or unreadable is drawn in plain colour, not refused.
        sha256: of the content of each file that was asked for, by the name in the CAD file; empty
            for one that is missing.

    Args:
        path: see above.
        folders: further folders that are searched.
        plain: see above.
    """

    def __init__(self, path: Path, folders: Sequence[Path] = (), plain: bool = False) -> None:
        self.path = path
        self.file_name = path.name
        self.plain = plain
        self.sha256: dict[str, str] = {}
        self._folders = folders
        self._textures: dict[str, Texture | None] = {}

    def get(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is no such file in the folders of the model.
            MeshError: it is larger than the limit.
        """
        self.sha256[name] = ''
        place = self.find(name)
        if place is None:
            raise FileNotFoundError(f'{name} is not there')
        data = read_regular(place)
        self.sha256[name] = hashlib.sha256(data).hexdigest()
        return data

    __getitem__ = get

    def find(self, name: str) -> Path | None:
        """Return the file of a name; None where there is none in the model's folders."""
        return find_source(self.path, name, self._folders)

    def record(self, name: str) -> None:
        """Count a file as one of the model, whether it is there or not, without its content."""
        if name not in self.sha256:
            with suppress(FileNotFoundError):
                self.get(name)

    def texture(self, name: str, where: str) -> Texture | None:
        """Return a texture; None where it cannot be read and plain colour is accepted.

        Args:
            name: as the CAD file writes it.
            where: file and line that name it.

        Raises:
            MeshError: it is missing or broken, and plain colour is not accepted.
        """
        if name not in self._textures:
            self._textures[name] = None
            try:
                data = self.get(name)
            except FileNotFoundError:
                self.lacking(f'{where}: texture {name!r} is not there; {self._searched()}')
            else:
                self._textures[name] = self.decoded(data, f'{where}: texture {name!r}')
        return self._textures[name]

    def decoded(self, data: bytes, source: str) -> Texture | None:
        """Return an encoded image; None where it is broken and plain colour is accepted.

        Raises:
            MeshError: it is broken, and plain colour is not accepted.
        """
        try:
            return decode_texture(data, source)
        except MeshError as error:
            self.lacking(str(error))
        return None

    def lacking(self, problem: str) -> None:
        """Refuse what cannot be drawn as the file says, or say that it is drawn plain.

        Raises:
            MeshError: plain colour is not accepted.
        """
        if not self.plain:
            raise MeshError(f'{problem}. Mend it, or accept plain colour: `plain: true` for this '
                            'object in the objects file')  # fmt: skip
        logger.warning('%s: drawn in plain colour', problem)

    def _searched(self) -> str:
        folders = dict.fromkeys(map(str, _roots(self.path, self._folders)))
        return f'searched in {", ".join(folders)}; name others with `textures: FOLDER`'


def spellings(name: bytes) -> list[str]:
    """Return what the bytes of a name may mean, most likely first; only one where it is UTF-8."""
    found = []
    for encoding in ENCODINGS:
        try:
            found.append(name.decode(encoding))
        except UnicodeDecodeError:
            continue
        if encoding == 'utf-8':
            break
    return found or [name.decode('latin-1')]


def find_source(path: Path, name: str, folders: Sequence[Path] = ()) -> Path | None:
    """Return the file that a CAD file means by a name; None for none in the model's folders.

    Args:
        path: the CAD file.
        name: as it writes it. Of the absolute paths that some exporters write the last part
            counts.
        folders: further folders that are searched.
    """
    if len(name) > LONGEST_NAME:
        return None
    roots = _roots(path, folders)
    allowed = [os.path.realpath(root) for root in roots]
    for place in _places(path.parent, name, roots):
        found = _in_any_case(place)
        if found is None:
            continue
        real = Path(os.path.realpath(found))
        if real.is_file() and any(real.is_relative_to(root) for root in allowed):
            return found
    return None


def _roots(path: Path, folders: Sequence[Path]) -> list[Path]:
    """Return the folders of a model; a link to a CAD file belongs to where it leads, too."""
    here = [*_model_folders(path), *folders]
    return [*here, *_model_folders(Path(os.path.realpath(path)))] if path.is_symlink() else here


def _model_folders(path: Path) -> list[Path]:
    folders = [path.parent]
    for above in list(path.absolute().parents)[:DEEPEST]:
        if above.name.casefold() in MESHES:
            folders.append(above.parent)
    return folders


def _places(folder: Path, name: str, roots: Sequence[Path]) -> Iterator[Path]:
    """Yield where a file may lie, the most literal first."""
    written = name.strip().strip('"').strip('\0')
    slashed = written.replace('\\', '/')
    plain = unquote(_SCHEME.sub('', slashed))
    for spelled in dict.fromkeys([written, slashed, plain]):
        for spelling in dict.fromkeys([spelled, *_other_encodings(spelled)]):
            yield folder / spelling
            yield folder / spelling.lstrip('/')
            yield folder / Path(spelling).name
    last = Path(plain).name
    for root in roots:
        for usual in USUAL:
            for spelling in dict.fromkeys([last, *_other_encodings(last)]):
                yield root / usual / spelling


def _other_encodings(name: str) -> list[str]:
    """Return other readings of a name whose bytes were taken for one encoding."""
    for encoding in ('latin-1', 'cp1252', 'gb18030'):
        try:
            return [spelled for spelled in spellings(name.encode(encoding)) if spelled != name]
        except UnicodeEncodeError:
            continue
    return []


def _in_any_case(place: Path) -> Path | None:
    """Return the path that is there and differs from this one in case alone."""
    try:
        if place.exists():
            return place
        parent = place.parent if place.parent.is_dir() else None
        if parent is None and place.parent != place:
            parent = _in_any_case(place.parent)
        if parent is None or not parent.is_dir():
            return None
        wanted = _folded(place.name)
        names = (file for file, _ in zip(parent.iterdir(), range(MOST_FILES), strict=False))
        return min((file for file in names if _folded(file.name) == wanted), default=None)
    except (OSError, ValueError):  # a name that is too long, or holds what no name may
        return None


def _folded(name: str) -> str:
    return unicodedata.normalize('NFC', name).casefold()
