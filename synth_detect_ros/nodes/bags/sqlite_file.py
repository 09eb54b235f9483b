"""SQLite files of ROS 2 bags (.db3); of a broken one, every row that can be read."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from synth_detect_ros.errors import BagError
from synth_detect_ros.nodes.bags.unpacking import check_size, folder_for

logger = logging.getLogger(__name__)

MAGIC = b'SQLite format 3\0'
# Beside the file of a recorder that was killed: what it had not yet written into it.
_UNFINISHED = ('-wal', '-journal')
# Texts that sqlite3 itself cannot decode, those of its errors too, raise the second.
_ERRORS = (sqlite3.Error, UnicodeDecodeError, OverflowError)


class SqliteFile:
    """One SQLite file of a bag.

    Attributes:
        topics: type of the messages by topic.
        ros1: False.

    Raises:
        BagError: the file holds no bag.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.ros1 = path, False
        self._readable, self._options = path, '?mode=ro&immutable=1'
        self._finish()
        try:
            with closing(self._connect()) as connection:
                rows = connection.execute('SELECT id, name, type FROM topics').fetchall()
        except _ERRORS as error:
            raise BagError(f'{path}: cannot be read as a bag: {error}') from error
        self._names = {key: str(name) for key, name, _ in rows}
        self.topics = {str(name): str(kind) for _, name, kind in rows}

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield topic and data of the messages of some topics, in the order of their times.

        Raises:
            BagLimitError: a message is larger than the limit.
        """
        with closing(self._connect()) as connection:
            for row, topic, size in self._rows(connection, topics):
                check_size(size, str(self._path))
                try:
                    (data,) = connection.execute(
                        'SELECT data FROM messages WHERE id = ?', (row,)
                    ).fetchone()
                except (*_ERRORS, TypeError) as error:
                    logger.warning('%s: message %d is left out: %s', self._path, row, error)
                    continue
                if isinstance(data, bytes):
                    yield topic, data

    def _rows(
        self, connection: sqlite3.Connection, topics: Collection[str]
    ) -> list[tuple[int, str, int]]:
        """Return id, topic and size of messages; where the file is broken, of those before."""
        wanted = {key: name for key, name in self._names.items() if name in topics}
        found: list[tuple[int, str, int, int]] = []
        marks = ','.join('?' * len(wanted))
        try:
            for row, topic, size, time in connection.execute(
                'SELECT id, topic_id, length(data), timestamp FROM messages '
                f'WHERE topic_id IN ({marks})', tuple(wanted),
            ):  # fmt: skip
                if isinstance(time, int):
                    found.append((row, wanted[topic], size or 0, time))
        except _ERRORS as error:
            logger.warning('%s: read as far as it is whole: %s', self._path, error)
        return [row[:3] for row in sorted(found, key=lambda row: (row[3], row[0]))]

    def _connect(self) -> sqlite3.Connection:
        uri = self._readable.resolve().as_uri()
        connection = sqlite3.connect(f'{uri}{self._options}', uri=True)
        connection.text_factory = lambda text: text.decode(errors='replace')
        # Without this SQLite reads nothing of a file that is shorter than it says.
        connection.execute('PRAGMA writable_schema=ON')
        return connection

    def _finish(self) -> None:
        """Copy a file beside which a killed recorder left something; SQLite then takes it in.

        Otherwise nobody writes: without locks it can be read from any disk.
        """
        path = self._path
        parts = [path.with_name(path.name + end) for end in _UNFINISHED]
        parts = [part for part in parts if part.is_file() and part.stat().st_size]
        if not parts:
            return
        logger.warning('%s was not closed, as after a loss of power: a copy is completed', path)
        folder = folder_for(self)
        for part in (path, *parts):
            shutil.copyfile(part, folder / part.name)
        self._readable, self._options = folder / path.name, ''
