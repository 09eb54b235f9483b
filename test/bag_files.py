"""Bags of every kind, written with rosbags; its messages have their own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from synth_detect_ros.geometry.camera import Camera

# Of a bag: its writer's plugin or compression, and how it is compressed besides.
KINDS = ('ros1', 'ros1_bz2', 'ros1_lz4', 'db3', 'db3_file', 'db3_message', 'mcap', 'mcap_file',
         'mcap_message', 'mcap_storage')  # fmt: skip


class Messages:
    """Makes messages of ROS 1 or 2."""

    def __init__(self, ros1: bool = False) -> None:
        self.ros1 = ros1
        self.store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)

    def _make(self, kind: str, **values: Any) -> Any:
        return self.store.types[kind](**values)

    def header(self, number: int) -> Any:
        stamp = self._make('builtin_interfaces/msg/Time', sec=number, nanosec=0)
        first = {'seq': number} if self.ros1 else {}
        return self._make('std_msgs/msg/Header', **first, stamp=stamp, frame_id='optical')

    def image(self, number: int, pixels: np.ndarray, encoding: str = 'rgb8', **change: Any) -> Any:
        """Make an image of (H, W, C) pixels of any type."""
        values = dict(
            height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=0,
            step=pixels[0].nbytes, data=np.ascontiguousarray(pixels).reshape(-1).view(np.uint8),
        )  # fmt: skip
        header = self.header(number)
        return self._make('sensor_msgs/msg/Image', header=header, **{**values, **change})

    def compressed(self, number: int, data: bytes, format: str = 'jpeg') -> Any:
        header, array = self.header(number), np.frombuffer(data, np.uint8)
        return self._make(
            'sensor_msgs/msg/CompressedImage', header=header, format=format, data=array
        )

    def info(self, number: int, camera: Camera, **change: Any) -> Any:
        names = ('D', 'K', 'R', 'P') if self.ros1 else ('d', 'k', 'r', 'p')
        projection = np.hstack([camera.K, np.zeros((3, 1))])
        matrices = (camera.D, camera.K, np.eye(3), projection)
        values = dict(
            height=camera.height, width=camera.width, distortion_model=camera.distortion_model,
            binning_x=0, binning_y=0,
            roi=self._make(
                'sensor_msgs/msg/RegionOfInterest', x_offset=0, y_offset=0, height=0, width=0,
                do_rectify=False,
            ),
        )  # fmt: skip
        values |= {name: m.reshape(-1) for name, m in zip(names, matrices, strict=True)}
        header = self.header(number)
        return self._make('sensor_msgs/msg/CameraInfo', header=header, **{**values, **change})


def write_bag(
    path: Path,
    topics: Mapping[str, Sequence[Any]],
    kind: str = 'db3',
    empty: Mapping[str, str] | None = None,
    messages: Messages | None = None,
) -> Path:
    """Write a bag, the messages of all topics in turn, a tenth of a second apart.

    Args:
        path: new folder; that of ROS 1 gets the end .bag.
        topics: messages by topic.
        kind: one of `KINDS`.
        empty: types of topics without a message.
        messages: what made the messages.
    """
    storage, _, compression = kind.partition('_')
    messages = messages or Messages(storage == 'ros1')
    if storage == 'ros1':
        path = path.with_suffix('.bag')
        writer: Any = Writer1(path)
        if compression:
            writer.set_compression(Writer1.CompressionFormat[compression.upper()])
    else:
        plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
        writer = Writer2(path, version=8, storage_plugin=plugin)
        if compression:
            writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    store = messages.store
    serialize = store.serialize_ros1 if messages.ros1 else store.serialize_cdr
    with writer:
        for name, kind_of in (empty or {}).items():
            writer.add_connection(name, kind_of, typestore=store)
        connections = {
            name: writer.add_connection(name, sent[0].__msgtype__, typestore=store)
            for name, sent in topics.items()
        }
        for number in range(max(map(len, topics.values()), default=0)):
            for name, sent in topics.items():
                if number < len(sent):
                    data = serialize(sent[number], sent[number].__msgtype__)
                    writer.write(connections[name], number * 10**8, data)
    return path


def files_of(path: Path) -> list[Path]:
    """Return the files of a bag, without metadata.yaml."""
    files = path.iterdir() if path.is_dir() else [path]
    return [file for file in files if file.name != 'metadata.yaml']
