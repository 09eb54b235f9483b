"""Material files of OBJ: colours, textures and how these are laid on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles, spellings

# Options of a texture and how many values they take at most; numbers are optional beyond one.
_FLAGS = dict.fromkeys(
    ('-blendu', '-blendv', '-cc', '-clamp', '-bm', '-boost', '-imfchan', '-texres', '-type'), 1
) | {'-mm': 2, '-o': 3, '-s': 3, '-t': 3}
_NUMBER = re.compile(rb'^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$')


@dataclass
class MtlTexture:
    """A texture of a material.

    Attributes:
        name: of its file.
        where: file and line.
        scale: of the texture coordinates, before `offset` is added.
        offset: see above.
        clamp: whether it is drawn once, and not repeated.
    """

    name: str
    where: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamp: bool = False


@dataclass
class MtlMaterial:
    """A material.

    Attributes:
        names: spellings of its name.
        diffuse: Kd, 0..1, or None.
        texture: map_Kd, or None.
    """

    names: set[str] = field(default_factory=set)
    diffuse: tuple[float, ...] | None = None
    texture: MtlTexture | None = None


def lines_of(data: bytes) -> list[bytes]:
    """Return the lines of a text in any encoding, those that a backslash continues joined.

    A line that was continued is followed by empty ones, so that numbers of lines stay.
    """
    if data[:2] in (b'\xff\xfe', b'\xfe\xff'):
        data = data.decode('utf-16', 'replace').encode()
    data = data.removeprefix(b'\xef\xbb\xbf').replace(b'\r\n', b'\n').replace(b'\r', b'\n')
    if b'\\\n' not in data:
        return data.split(b'\n')
    lines: list[bytes] = []
    pending = 0
    for line in data.split(b'\n'):
        if pending:
            lines[-pending] = lines[-pending][:-1] + b' ' + line
            lines.append(b'')
        else:
            lines.append(line)
        pending = pending + 1 if line.endswith(b'\\') else 0
    return lines


def read_mtl(data: bytes, source: str, files: SourceFiles) -> list[MtlMaterial]:
    """Read a material file; the textures that it names count as files of the model.

    Args:
        data: its content.
        source: its name, for messages.
        files: of the model.

    Raises:
        MeshError: a colour or an option is no number.
    """
    materials: list[MtlMaterial] = []
    for number, line in enumerate(lines_of(data), 1):
        key, rest, *_ = [*line.strip().split(None, 1), b'', b'']
        key, where = key.lower(), f'{source}:{number}'
        if key == b'newmtl':
            materials.append(MtlMaterial(set(spellings(rest))))
        elif not materials:
            continue
        elif key == b'kd':
            materials[-1].diffuse = _colour(rest, where)
        elif key == b'map_kd' and rest:
            materials[-1].texture = _texture(rest, where)
            files.record(materials[-1].texture.name)
    return materials


def _colour(rest: bytes, where: str) -> tuple[float, ...]:
    words = rest.split()
    if words[:1] in ([b'spectral'], [b'xyz']):
        raise MeshError(f'{where}: colours as {words[0].decode()} are not read; wanted r g b')
    values = _numbers(words[:3], where)
    return tuple(values * 3 if len(values) == 1 else values)


def _texture(rest: bytes, where: str) -> MtlTexture:
    """Read what stands behind map_Kd: options, then a file name that may hold spaces."""
    texture = MtlTexture('', where)
    while rest.startswith(b'-'):
        words = rest.split()
        option = words[0].decode('latin-1').lower()
        if option not in _FLAGS:
            break  # a file name with a dash in front
        count = 1
        while count <= _FLAGS[option] and count < len(words) - 1 and _NUMBER.match(words[count]):
            count += 1
        if count == 1:  # on, off, a channel, a type
            count = 2
        values = words[1:count]
        if option == '-clamp':
            texture.clamp = values[0:1] == [b'on']
        elif option in ('-s', '-o'):
            u, v, *_ = [*_numbers(values, where), *((1.0, 1.0) if option == '-s' else (0.0, 0.0))]
            if option == '-s':
                texture.scale = u, v
            else:
                texture.offset = u, v
        for word in words[:count]:
            rest = rest.split(word, 1)[1].lstrip()
    try:
        texture.name = rest.decode()
    except UnicodeDecodeError:
        texture.name = rest.decode('latin-1')
    return texture


def _numbers(words: list[bytes], where: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if not values:
        got = b' '.join(words).decode('latin-1')[:60]
        raise MeshError(f'{where}: wanted numbers, got {got!r}')
    return values
