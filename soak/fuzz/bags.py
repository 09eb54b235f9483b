"""Small recordings of a camera: bags of ROS 1 and ROS 2, a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0


def write_bag(path: Path, kind: str, count: int = 2) -> None:
    """Write a raw and a compressed topic with their CameraInfo; kind: sqlite3, mcap, ros1."""
    old = kind == 'ros1'
    store = get_typestore(Stores.ROS1_NOETIC if old else Stores.ROS2_HUMBLE)
    serialize = store.serialize_ros1 if old else store.serialize_cdr
    plugins = {'sqlite3': StoragePlugin.SQLITE3, 'mcap': StoragePlugin.MCAP}
    writer = Writer1(path) if old else Writer2(path, version=8, storage_plugin=plugins[kind])
    with writer:
        topics: dict[str, Any] = {}
        for number in range(count):
            for name, message in _messages(store.types, number, old=old).items():
                msgtype = message.__msgtype__
                if name not in topics:
                    topics[name] = writer.add_connection(name, msgtype, typestore=store)
                writer.write(topics[name], (1 + number) * 10**8, serialize(message, msgtype))


def _messages(types: Any, number: int, *, old: bool) -> dict[str, Any]:
    stamp = types['builtin_interfaces/msg/Time'](sec=1 + number, nanosec=0)
    first = {'seq': 0} if old else {}
    header = types['std_msgs/msg/Header'](**first, stamp=stamp, frame_id='optical')
    rng = np.random.default_rng(number)
    pixels = rng.integers(40, 220, (HEIGHT, WIDTH, 3), np.uint8)
    image = types['sensor_msgs/msg/Image'](
        header=header, height=HEIGHT, width=WIDTH, encoding='rgb8', is_bigendian=0,
        step=3 * WIDTH, data=pixels.reshape(-1),
    )  # fmt: skip
    jpeg = cv2.imencode('.jpg', pixels)[1].reshape(-1)
    compressed = types['sensor_msgs/msg/CompressedImage'](header=header, format='jpeg', data=jpeg)
    K = np.array([FOCAL, 0, WIDTH / 2, 0, FOCAL, HEIGHT / 2, 0, 0, 1.0])
    P = np.hstack([K.reshape(3, 3), np.zeros((3, 1))]).reshape(-1)
    names = 'DKRP' if old else 'dkrp'
    matrices = dict(zip(names, (np.zeros(5), K, np.eye(3).reshape(-1), P), strict=True))
    info = types['sensor_msgs/msg/CameraInfo'](
        header=header, height=HEIGHT, width=WIDTH, distortion_model='plumb_bob',
        binning_x=0, binning_y=0,
        roi=types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False), **matrices,
    )  # fmt: skip
    return {
        '/cam/image_raw': image,
        '/cam/image_raw/compressed': compressed,
        '/cam/camera_info': info,
    }


def write_video(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write a film of (H, W, 3) uint8 images in Motion JPEG."""
    height, width = frames[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(path), code, 10, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
