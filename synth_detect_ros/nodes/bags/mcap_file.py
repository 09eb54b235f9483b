"""MCAP files, read record by record: one that ends early gives all that is whole in it.

Source: https://mcap.dev/spec.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from synth_detect_ros.errors import BagError, BagLimitError
from synth_detect_ros.nodes.bags.unpacking import check_size, end_of_content, unpack

logger = logging.getLogger(__name__)

MAGIC = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _DATA_END = 2, 3, 4, 5, 6, 8, 15
_KEPT = (_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK_INDEX)
_HEADER = struct.Struct('<BQ')  # op code and length of a record
_FOOTER_LENGTH = _HEADER.size + 20 + len(MAGIC)
# Channel, sequence and two times come before the data of a message; times, size and checksum
# before the name of a chunk's compression.
_MESSAGE_START, _CHUNK_START = 22, 28


class McapFile:
    """One MCAP file.

    Attributes:
        topics: type of the messages by topic.
        ros1: whether messages are serialised as in ROS 1.

    Raises:
        BagError: the file is no MCAP file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._said = path, False
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str, str]] = {}
        self._chunks: dict[int, frozenset[int]] = {}
        with path.open('rb') as file:
            self._end = path.stat().st_size
            if file.read(len(MAGIC)) != MAGIC:
                raise BagError(f'{path}: cannot be read as a bag: it does not begin as an MCAP')
            if not self._read_summary(file):
                logger.warning(
                    '%s has no index, as after a loss of power: all that is whole in it is read',
                    path,
                )
                self._end = end_of_content(file)
                file.seek(len(MAGIC))
                for op, content in self._records(file, self._end, ()):
                    self._note(op, content)
        self.topics = {topic: kind for topic, kind, _ in self._channels.values()}
        self.ros1 = 'ros1' in {encoding for _, _, encoding in self._channels.values()}

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield topic and data of the messages of some topics, in the order of the file.

        Raises:
            BagLimitError: a message or chunk is larger than the limit.
        """
        wanted = {key for key, channel in self._channels.items() if channel[0] in topics}
        skipped = {at for at, channels in self._chunks.items() if not channels & wanted}
        with self._path.open('rb') as file:
            file.seek(len(MAGIC))
            for op, content in self._records(file, self._end, skipped):
                if op == _MESSAGE and len(content) >= _MESSAGE_START:
                    key = int.from_bytes(content[:2], 'little')
                    if key in wanted:
                        yield self._channels[key][0], content[_MESSAGE_START:]

    def _read_summary(self, file: BinaryIO) -> bool:
        """Take note of the channels and chunks that the end of the file lists; False: of none."""
        size = self._end
        file.seek(max(size - _FOOTER_LENGTH, 0))
        footer = file.read()
        if len(footer) < _FOOTER_LENGTH or not footer.endswith(MAGIC) or footer[0] != _FOOTER:
            return False
        start = int.from_bytes(footer[_HEADER.size : _HEADER.size + 8], 'little')
        if not len(MAGIC) < start < size:
            return False
        file.seek(start)
        for op, content in self._records(file, size, ()):
            self._note(op, content)
        return bool(self._channels)

    def _note(self, op: int, content: bytes) -> None:
        """Take note of a schema, channel or chunk; of a broken one none."""
        try:
            if op == _SCHEMA:
                self._schemas[int.from_bytes(content[:2], 'little')] = _text(content, 2)[0]
            elif op == _CHANNEL:
                key, schema = struct.unpack_from('<HH', content)
                topic, end = _text(content, 4)
                kind = self._schemas.get(schema, '')
                self._channels[key] = topic, kind, _text(content, end)[0]
            elif op == _CHUNK_INDEX:
                at, length = struct.unpack_from('<Q8xI', content, 16)
                pairs = struct.iter_unpack('<HQ', content[36 : 36 + length])
                self._chunks[at] = frozenset(channel for channel, _ in pairs)
        except (struct.error, UnicodeDecodeError) as error:
            logger.warning('%s: a broken record is left out: %s', self._path, error)

    def _records(
        self, file: BinaryIO, size: int, skipped: Collection[int]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield op code and content of the whole records, those in chunks included.

        Args:
            file: at the start of a record.
            size: of the file [bytes].
            skipped: where chunks begin that hold nothing of interest.
        """
        while True:
            at, header = file.tell(), file.read(_HEADER.size)
            op, length = _HEADER.unpack(header) if len(header) == _HEADER.size else (0, 0)
            left = size - file.tell()
            if op in (0, _FOOTER, _DATA_END):  # 0: behind what a crash left
                return
            if op == _CHUNK and at not in skipped and not isinstance(file, BytesIO):
                content = self._chunk(file, min(length, left))
                yield from self._records(BytesIO(content), len(content), ())
            elif length > left:
                self._say_end()
                return
            elif op in _KEPT:
                check_size(length, str(self._path))
                yield op, file.read(length)
            else:
                file.seek(length, 1)

    def _say_end(self) -> None:
        if not self._said:
            self._said = True
            logger.warning('%s ends in the middle of a record', self._path)

    def _chunk(self, file: BinaryIO, length: int) -> bytes:
        """Return the records of a chunk; of one that is cut off those before, of a broken none."""
        source = str(self._path)
        check_size(length, source)
        content = file.read(length)
        if len(content) < _CHUNK_START:
            return b''
        check_size(int.from_bytes(content[16:24], 'little'), source)
        try:
            method, start = _text(content, _CHUNK_START)
            return unpack(content[start + 8 :], method, source)
        except BagLimitError:
            raise
        except (BagError, struct.error, UnicodeDecodeError) as error:
            logger.warning('%s: a broken chunk is left out: %s', source, error)
            return b''


def _text(content: bytes, at: int) -> tuple[str, int]:
    """Return a text with its length before it, and where it ends."""
    (length,) = struct.unpack_from('<I', content, at)
    end = at + 4 + length
    if end > len(content):
        raise struct.error(f'a text of {length} bytes ends behind its record')
    return content[at + 4 : end].decode(), end
