"""Changes of a valid file: bits, cuts, chunks, words, and values of the formats that have some."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import yaml

from soak.fuzz.values import json_text, mutate_tree, yaml_text

Mutation = Callable[[bytes, Random], bytes]
WORDS = (
    *(
        b'nan',
        b'inf',
        b'-1',
        b'0',
        b'1e308',
        b'1e999',
        b'999999999999',
        b'-0',
        b'1/1/1',
        b'//',
        b'',
    ),
    *(
        b'0x7f',
        b'\xff',
        b'\xe9',
        b'\x00',
        b'..',
        b'../x.png',
        b'9' * 400,
        b'#',
        b'"',
        b'<',
        b'&lt;',
    ),
)
TEXT_SUFFIXES = ('.obj', '.mtl', '.dae', '.csv', '.ply', '.stl')


def flip_bits(data: bytes, rng: Random) -> bytes:
    """Flip one to sixteen bits."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def odd_integer(data: bytes, rng: Random) -> bytes:
    """Write an integer at the limits of its type over some bytes."""
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(
        (0, 1, (1 << 8 * size) - 1, 1 << 8 * size - 1, (1 << 8 * size - 1) - 1, 65)
    )
    place = rng.randrange(max(len(data) - size, 0) + 1)
    return (
        data[:place] + number.to_bytes(size, rng.choice(('little', 'big'))) + data[place + size :]
    )


def cut(data: bytes, rng: Random) -> bytes:
    """Keep the beginning only."""
    return data[: rng.randrange(len(data) + 1)]


def move_chunk(data: bytes, rng: Random) -> bytes:
    """Remove a chunk, or put it somewhere else a number of times."""
    first, last = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    last = min(last, first + 4096)
    place, times = rng.randrange(len(data) + 1), rng.choice((0, 1, 2, 50))
    rest = data if times else data[:first] + data[last:]
    return rest[:place] + data[first:last] * times + rest[place:]


def insert_noise(data: bytes, rng: Random) -> bytes:
    """Insert random bytes."""
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.choice((1, 3, 16, 512))) + data[place:]


def swap_words(data: bytes, rng: Random) -> bytes:
    """Replace a word by another one of the file or an odd one, or drop or repeat a line."""
    parts = re.split(rb'(\s+|[,:<>="])', data)
    words = [i for i, part in enumerate(parts) if part.strip()]
    if not words:
        return insert_noise(data, rng)
    place = rng.choice(words)
    if rng.randrange(4):
        parts[place] = rng.choice((rng.choice(WORDS), parts[rng.choice(words)]))
        return b''.join(parts)
    lines = data.splitlines(keepends=True)
    number = rng.randrange(len(lines))
    return b''.join(
        lines[:number] + lines[number:][:1] * rng.choice((0, 2, 90)) + lines[number + 1 :]
    )


def json_value(data: bytes, rng: Random) -> bytes:
    """Change one value of a JSON document."""
    return json_text(mutate_tree(json.loads(data), rng))


def json_line(data: bytes, rng: Random) -> bytes:
    """Change one value in one line of JSON lines."""
    lines = data.splitlines()
    number = rng.randrange(len(lines))
    lines[number] = json_value(lines[number], rng)
    return b'\n'.join(lines) + b'\n'


def yaml_value(data: bytes, rng: Random) -> bytes:
    """Change one value of a YAML document."""
    return yaml_text(mutate_tree(yaml.safe_load(data), rng))


def glb_value(data: bytes, rng: Random) -> bytes:
    """Change one value in the JSON chunk of a GLB file."""
    length = struct.unpack_from('<I', data, 12)[0]
    text = json_value(data[20 : 20 + length], rng)
    text += b' ' * (-len(text) % 4)
    rest = data[20 + length :]
    head = struct.pack('<4sII', b'glTF', 2, 20 + len(text) + len(rest))
    return head + struct.pack('<I4s', len(text), b'JSON') + text + rest


def safetensors_value(data: bytes, rng: Random) -> bytes:
    """Change one value in the header of a safetensors file."""
    length = struct.unpack_from('<Q', data)[0]
    text = json_value(data[8 : 8 + length], rng)
    return struct.pack('<Q', len(text)) + text + data[8 + length :]


def png_chunk(data: bytes, rng: Random) -> bytes:
    """Change bytes in one chunk of a PNG file, with the check sum that fits; or its size."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        length = struct.unpack_from('>I', data, place)[0]
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += length + 12
    number = rng.choice((0, 0, rng.randrange(len(chunks))))
    kind, content = chunks[number]
    if number == 0 and rng.randrange(2):
        sides = [rng.choice((0, 1, 7, 60_000, 2**31 - 1, 2**32 - 1)) for _ in range(2)]
        content = struct.pack('>II', *sides) + content[8:]
    else:
        content = rng.choice((odd_integer, flip_bits, cut))(content, rng)
    chunks[number] = kind, content
    return data[:8] + b''.join(
        struct.pack('>I', len(c)) + k + c + struct.pack('>I', zlib.crc32(k + c)) for k, c in chunks
    )


def torch_value(data: bytes, rng: Random) -> bytes:
    """Change one value of a file of PyTorch."""
    import torch  # noqa: PLC0415  not needed by other formats

    tree = mutate_tree(torch.load(io.BytesIO(data), weights_only=True), rng)
    out = io.BytesIO()
    torch.save(tree, out)
    return out.getvalue()


PLAIN: tuple[Mutation, ...] = (flip_bits, odd_integer, cut, move_chunk, insert_noise)
BY_SUFFIX: dict[str, Mutation] = {
    **dict.fromkeys(TEXT_SUFFIXES, swap_words),
    '.json': json_value,
    '.gltf': json_value,
    '.jsonl': json_line,
    '.yaml': yaml_value,
    '.glb': glb_value,
    '.png': png_chunk,
    '.safetensors': safetensors_value,
    '.pt': torch_value,
    '.pth': torch_value,
}


def mutate_file(path: Path, rng: Random) -> None:
    """Change a file in place; now and then what stands there is no file any more."""
    if rng.random() < 0.02:
        _replace(path, rng)
        return
    data = path.read_bytes()
    aware = BY_SUFFIX.get(path.suffix)
    if aware is not None and rng.random() < 0.6:
        data = aware(data, rng)
        if rng.random() < 0.85:
            path.write_bytes(data)
            return
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        text = path.suffix in (*TEXT_SUFFIXES, '.json', '.yaml', '.jsonl', '.gltf')
        data = rng.choice((*PLAIN, swap_words) if text else PLAIN)(data, rng)
    path.write_bytes(data)


def _replace(path: Path, rng: Random) -> None:
    """Put something else in the place of a file."""
    content = path.read_bytes()
    path.unlink()
    how = rng.randrange(7)
    if how == 0:
        os.mkfifo(path)
    elif how == 1:
        path.mkdir()
    elif how == 2:
        path.symlink_to(path.name)
    elif how == 3:
        path.symlink_to('/dev/zero')
    elif how == 4:
        path.write_bytes(b'')
    elif how == 5:
        path.write_bytes(b'\xff\xfe' + content.decode(errors='replace').encode('utf-16-le'))
