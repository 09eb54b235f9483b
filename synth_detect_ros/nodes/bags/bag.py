"""A bag: files of ROS 1 or 2 in one folder, or one of them, whether it was closed or not."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Protocol

from rosbags.typesys import Stores, get_typestore

from synth_detect_ros.documents import read_yaml
from synth_detect_ros.errors import BagError, BagLimitError
from synth_detect_ros.nodes.bags import mcap_file, ros1_file, sqlite_file
from synth_detect_ros.nodes.bags.unpacking import ZSTD_START, folder_for, unpack, unpack_file

logger = logging.getLogger(__name__)

METADATA = 'metadata.yaml'
_LONGEST_METADATA = 1 << 20  # [bytes]; a longer one is not read
SUFFIXES = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd', '.bag', '.bag.active')


class BagFile(Protocol):
    """One file of a bag.

    Attributes:
        topics: type of the messages by topic.
        ros1: whether messages are serialised as in ROS 1.
    """

    topics: dict[str, str]
    ros1: bool

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield topic and data of the messages of some topics, in order."""


_KINDS: dict[bytes, type[BagFile]] = {
    mcap_file.MAGIC: mcap_file.McapFile,
    sqlite_file.MAGIC: sqlite_file.SqliteFile,
    ros1_file.MAGIC: ros1_file.Ros1File,
}


class Bag:
    """Recorded messages, which can be read any number of times.

    Attributes:
        path: of the bag.
        topics: type of the messages by topic, as `sensor_msgs/msg/Image`.

    Raises:
        BagError: there is no bag, or nothing of it can be read.
        OSError: a file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: list[BagFile] = []
        errors = []
        for file in bag_files(path):
            try:
                self._files.append(self._open(file))
            except BagError as error:
                errors.append(error)
                logger.warning('%s', error)
        if not self._files:
            raise (
                errors[0]
                if errors
                else BagError(
                    f'{path}: cannot be read as a bag: it holds no file of {", ".join(SUFFIXES)}'
                )
            )
        self.topics = {t: kind for file in self._files for t, kind in file.topics.items()}

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, Any]]:
        """Yield topic and message of some topics, in order; messages that are broken are left out.

        Raises:
            BagLimitError: a message is larger than the limit.
            OSError: a file cannot be read.
        """
        for file in self._files:
            for topic, data in file.messages(topics):
                message = self._message(file, topic, data)
                if message is not None:
                    yield topic, message

    def _open(self, path: Path) -> BagFile:
        if not path.is_file():  # a pipe would wait for ever
            raise BagError(f'{path}: cannot be read as a bag: it is no regular file')
        with path.open('rb') as file:
            start = file.read(16)
        if start.startswith(ZSTD_START):
            unpacked = folder_for(self) / path.stem
            unpack_file(path, unpacked)
            return self._open(unpacked)
        for magic, kind in _KINDS.items():
            if start.startswith(magic):
                return kind(path)
        raise BagError(
            f'{path}: cannot be read as a bag: it is '
            f'{"no MCAP, no SQLite file and no bag of ROS 1" if start else "empty"}'
        )

    def _message(self, file: BagFile, topic: str, data: bytes) -> Any:
        try:
            if data.startswith(ZSTD_START):  # a bag whose messages are compressed one by one
                data = unpack(data, 'zstd', str(self.path))
            store = _types(file.ros1)
            read = store.deserialize_ros1 if file.ros1 else store.deserialize_cdr
            return read(data, file.topics[topic])
        except BagLimitError:
            raise
        except Exception as error:  # whatever the library meets in broken data
            logger.warning('%s: a message of %s is left out: %s', self.path, topic, error)
            return None


def bag_files(path: Path) -> list[Path]:
    """Return the files of a bag in the order of their numbers; a file is a bag of one.

    Files that metadata.yaml names but that are gone are said.
    """
    if not path.is_dir():
        return [path]
    files = [file for file in path.iterdir() if file.name.endswith(SUFFIXES) and file.is_file()]
    names = {file.name for file in files}
    for missing in sorted(_named(path / METADATA) - names):
        logger.warning('%s: %s is missing; the rest is played', path, missing)
    # What is compressed counts only where it does not lie there unpacked too.
    files = [file for file in files if file.name.removesuffix('.zstd') not in names - {file.name}]
    return sorted(files, key=lambda file: _natural(file.name))


def is_bag(path: Path) -> bool:
    """Return whether a file or folder looks like a bag, from outside."""
    if path.is_dir():
        return (path / METADATA).is_file() or bool(bag_files(path))
    if path.name.endswith(SUFFIXES) or not path.is_file():
        return path.name.endswith(SUFFIXES)
    with path.open('rb') as file:
        return file.read(16).startswith(tuple(_KINDS))


@cache
def _types(ros1: bool) -> Any:
    """Return the types of messages; those of cameras are the same in all versions."""
    return get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)


def _named(metadata: Path) -> set[str]:
    """Return the names of the files in metadata.yaml; none where it is missing or broken."""
    try:
        if not metadata.is_file() or metadata.stat().st_size > _LONGEST_METADATA:
            return set()
        content = read_yaml(metadata, BagError)
        named = content['rosbag2_bagfile_information']['relative_file_paths']
        return {PurePath(str(name)).name for name in named}
    except (OSError, BagError, KeyError, TypeError):
        return set()


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which 10 comes behind 9."""
    return [
        (int(part), '') if part.isdecimal() else (-1, part) for part in re.split(r'(\d+)', name)
    ]
