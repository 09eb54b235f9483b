"""Bags of ROS 1, read record by record: one without an index gives all that is whole in it.

Source: http://wiki.ros.org/Bags/Format/2.0.
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

MAGIC = b'#ROSBAG V2.0\n'
_MESSAGE, _BAG, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 5, 6, 7
_KEPT = (_MESSAGE, _CONNECTION, _CHUNK_INFO)
_LONGEST_HEADER = 1 << 20  # [bytes]; theirs have some hundreds
Fields = dict[str, bytes]


class Ros1File:
    """One bag of ROS 1.

    Attributes:
        topics: type of the messages by topic, as ROS 2 writes it.
        ros1: True.

    Raises:
        BagError: the file is no bag of ROS 1.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._said, self.ros1 = path, False, True
        self._topics: dict[int, str] = {}
        self._chunks: dict[int, set[int]] = {}
        self.topics: dict[str, str] = {}
        with path.open('rb') as file:
            self._end = path.stat().st_size
            if file.read(len(MAGIC)) != MAGIC:
                raise BagError(f'{path}: cannot be read as a bag: it does not begin as one')
            self._read(file, self._index_start(file) or self._end)
            if not self._topics:
                logger.warning(
                    '%s has no index, as after a loss of power: all that is whole in it is read',
                    path,
                )
                self._end = end_of_content(file)
                self._read(file, len(MAGIC))
        if not self._topics:
            raise BagError(f'{path}: cannot be read as a bag: it holds no topic')

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield topic and data of the messages of some topics, in the order of the file.

        Raises:
            BagLimitError: a message or chunk is larger than the limit.
        """
        wanted = {key for key, topic in self._topics.items() if topic in topics}
        skipped = {at for at, connections in self._chunks.items() if not connections & wanted}
        with self._path.open('rb') as file:
            file.seek(len(MAGIC))
            for op, fields, data in self._records(file, self._end, skipped):
                key = _number(fields.get('conn'))
                if op == _MESSAGE and key in wanted:
                    yield self._topics[key], data

    def _read(self, file: BinaryIO, begin: int) -> None:
        """Take note of connections and chunks from some place on."""
        file.seek(begin)
        for op, fields, data in self._records(file, self._end, ()):
            self._note(op, fields, data)

    def _index_start(self, file: BinaryIO) -> int:
        """Return where the index begins, 0 if there is none."""
        fields = _fields(_sized(file, self._end) or b'')
        start = _number(fields.get('index_pos'))
        return start if len(MAGIC) < start < self._end else 0

    def _note(self, op: int, fields: Fields, data: bytes) -> None:
        """Take note of a connection, or of what a chunk holds."""
        if op == _CONNECTION:
            topic = fields.get('topic', b'').decode(errors='replace')
            kind = _fields(data).get('type', b'').decode(errors='replace')
            self._topics[_number(fields.get('conn'))] = topic
            self.topics[topic] = kind.replace('/', '/msg/')  # sensor_msgs/Image
        elif op == _CHUNK_INFO:
            whole = len(data) - len(data) % 8
            connections = {connection for connection, _ in struct.iter_unpack('<II', data[:whole])}
            self._chunks[_number(fields.get('chunk_pos'))] = connections

    def _records(
        self, file: BinaryIO, size: int, skipped: Collection[int]
    ) -> Iterator[tuple[int, Fields, bytes]]:
        """Yield op code, header and data of the whole records, those in chunks included.

        Args:
            file: at the start of a record.
            size: of the file [bytes].
            skipped: where chunks begin that hold nothing of interest.
        """
        while file.tell() < size:
            at, header, length = file.tell(), _sized(file, size), file.read(4)
            if header is None or len(length) < 4:
                self._say_end()
                return
            fields, count, left = _fields(header), _number(length), size - file.tell()
            op = _number(fields.get('op'))
            if op == _CHUNK and at not in skipped and not isinstance(file, BytesIO):
                content = self._chunk(file, min(count, left), fields)
                yield from self._records(BytesIO(content), len(content), ())
            elif count > left:
                self._say_end()
                return
            elif op in _KEPT:
                check_size(count, str(self._path))
                yield op, fields, file.read(count)
            else:
                file.seek(count, 1)

    def _say_end(self) -> None:
        if not self._said:
            self._said = True
            logger.warning('%s ends in the middle of a record', self._path)

    def _chunk(self, file: BinaryIO, length: int, fields: Fields) -> bytes:
        """Return the records of a chunk; of one that is cut off those before, of a broken none."""
        source = str(self._path)
        check_size(max(length, _number(fields.get('size'))), source)
        content = file.read(length)
        try:
            return unpack(content, fields.get('compression', b'').decode(errors='replace'), source)
        except BagLimitError:
            raise
        except BagError as error:
            logger.warning('%s: a broken chunk is left out: %s', source, error)
            return b''


def _sized(file: BinaryIO, size: int) -> bytes | None:
    """Return a header; None where the file ends first, or what is there is none."""
    length = _number(file.read(4))
    if not 0 < length <= min(_LONGEST_HEADER, size - file.tell()):
        return None
    return file.read(length)


def _fields(header: bytes) -> Fields:
    """Return the fields of a header: each has its length before it, and an equals sign in it."""
    fields, at = {}, 0
    while at + 4 <= len(header):
        end = at + 4 + _number(header[at : at + 4])
        name, _, value = header[at + 4 : end].partition(b'=')
        fields[name.decode(errors='replace')] = value
        at = end
    return fields


def _number(data: bytes | None) -> int:
    return int.from_bytes(data or b'', 'little')
