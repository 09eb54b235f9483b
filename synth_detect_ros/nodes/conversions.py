"""ROS messages to library types and back, without cv_bridge.

Images are (H, W, 3) uint8 RGB inside the library. Message data go in and out as `array.array`,
because lists of bytes are a hundred times slower. Functions that read images and CameraInfo use
attributes only, so they also convert messages that `rosbags` reads.
"""

from __future__ import annotations

import array
import json
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from synth_detect_ros.dataset.coco import encode_mask
from synth_detect_ros.errors import ImageLimitError, MessageError, UncalibratedCameraError
from synth_detect_ros.files import decode_image, encode_image
from synth_detect_ros.geometry.boxes import pixels_from_edges, xywh_from_xyxy
from synth_detect_ros.geometry.calibration import camera_from_info
from synth_detect_ros.geometry.camera import CALIBRATION_ADVICE, Camera
from synth_detect_ros.geometry.masks import bounding_slices
from synth_detect_ros.images.depth import FULL_RANGE, BitDepth
from synth_detect_ros.nodes.encodings import IncompleteImageError, decode_pixels
from synth_detect_ros.structures import Detections

try:
    from vision_msgs import msg as vision_msgs
except ImportError:  # it has no wheel; see outputs.py
    vision_msgs = None


def rgb_from_message(
    message: Image | CompressedImage, depth: BitDepth = FULL_RANGE
) -> NDArray[np.uint8]:
    """Convert a raw image, or a compressed one (JPEG, PNG), to (H, W, 3) uint8 RGB.

    Args:
        message: from the camera driver.
        depth: of the stream, where images have 16 bits.

    Raises:
        MessageError: unknown encoding, sizes that contradict one another, or more pixels than
            the limit.
        IncompleteImageError: the data are no complete image.
    """
    if hasattr(message, 'encoding'):
        return decode_pixels(
            message.data, message.width, message.height, message.step, message.encoding,
            big_endian=bool(message.is_bigendian), depth=depth,
        )  # fmt: skip
    try:
        image = decode_image(bytes(message.data), depth)
    except ImageLimitError as error:
        raise MessageError(f'image of format {message.format!r}: {error}') from error
    if image is None:
        raise IncompleteImageError(
            f'{len(message.data)} bytes of format {message.format!r} are no complete JPEG or PNG'
        )
    return image


def encoding_of(message: Image | CompressedImage) -> str:
    """Return the encoding of a raw image, the format of a compressed one."""
    return message.encoding if hasattr(message, 'encoding') else message.format


def image_from_rgb(image: NDArray[np.uint8], header: Header, encoding: str = 'rgb8') -> Image:
    """Make a raw image message of (H, W, 3) uint8 RGB; encoding rgb8, bgr8 or mono8."""
    codes = {'bgr8': cv2.COLOR_RGB2BGR, 'mono8': cv2.COLOR_RGB2GRAY}
    pixels = cv2.cvtColor(image, codes[encoding]) if encoding in codes else image
    return _image(pixels, header, encoding)


def compressed_from_rgb(image: NDArray[np.uint8], header: Header) -> CompressedImage:
    """Make a JPEG message of (H, W, 3) uint8 RGB, as image_transport labels it."""
    data = array.array('B', encode_image(image, 'jpg'))
    return CompressedImage(header=header, format='bgr8; jpeg compressed bgr8', data=data)


def labels_from_detections(
    detections: Detections, height: int, width: int, header: Header
) -> Image:
    """Make a label image: pixel = 1 + index of the detection, 0 = none; the best is on top.

    Returns:
        16UC1 image of height x width, all 0 from a detector without masks.
    """
    labels = np.zeros((height, width), np.uint16)
    if detections.masks is not None:
        for index in reversed(range(len(detections))):
            mask = detections.masks[index]
            region = bounding_slices(mask)
            labels[region][mask[region]] = index + 1
    return _image(labels, header, '16UC1')


def _image(pixels: NDArray[Any], header: Header, encoding: str) -> Image:
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(pixels).reshape(-1).view(np.uint8))
    height, width = pixels.shape[:2]
    return Image(
        header=header, height=height, width=width, encoding=encoding,
        is_bigendian=0, step=len(data) // height, data=data,
    )  # fmt: skip


def camera_from_message(info: CameraInfo, *, rectified: bool) -> Camera:
    """Convert intrinsics, ROI and binning included.

    Args:
        info: from the camera driver.
        rectified: the image topic is rectified.

    Raises:
        UncalibratedCameraError: K[0] == 0.
        GeometryError: sizes or the distortion model make no sense.
    """
    # ROS 1 writes K, D and P in capitals.
    K, D, P = (getattr(info, n, getattr(info, n.upper(), None)) for n in 'kdp')
    if K[0] == 0:
        raise UncalibratedCameraError(
            f'camera {info.header.frame_id!r} is not calibrated (K[0] == 0): {CALIBRATION_ADVICE}'
        )
    roi = info.roi
    return camera_from_info(
        info.width, info.height, K, D, P, info.distortion_model,
        rectified=rectified,
        binning=(info.binning_x, info.binning_y),
        roi=(roi.x_offset, roi.y_offset, roi.width, roi.height),
        name=info.header.frame_id,
    )  # fmt: skip


def message_from_camera(camera: Camera, header: Header) -> CameraInfo:
    """Make a CameraInfo, the inverse of `camera_from_message`."""
    projection = np.hstack([camera.K, np.zeros((3, 1))])
    return CameraInfo(
        header=header, width=camera.width, height=camera.height,
        distortion_model=camera.distortion_model,
        d=camera.D.tolist(), k=camera.K.reshape(-1).tolist(),
        r=np.eye(3).reshape(-1).tolist(), p=projection.reshape(-1).tolist(),
    )  # fmt: skip


def message_from_detections(
    detections: Detections, classes: Sequence[str], header: Header
) -> vision_msgs.Detection2DArray:
    """Make a vision_msgs/Detection2DArray; class_id is the name of the class.

    Box centres have integers at pixel centres, the convention of CameraInfo. The id is 1 + index,
    the pixel value in the label image.
    """
    message = vision_msgs.Detection2DArray(header=header)
    centres = pixels_from_edges((detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2)
    sizes = detections.boxes[:, 2:] - detections.boxes[:, :2]
    for i, label in enumerate(detections.labels):
        hypothesis = vision_msgs.ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = classes[label]
        hypothesis.hypothesis.score = float(detections.scores[i])
        detection = vision_msgs.Detection2D(header=header, results=[hypothesis], id=str(i + 1))
        detection.bbox.center.position.x, detection.bbox.center.position.y = centres[i].tolist()
        detection.bbox.size_x, detection.bbox.size_y = sizes[i].tolist()
        message.detections.append(detection)
    return message


def vision_info(method: str, database: str, header: Header) -> vision_msgs.VisionInfo:
    """Make a vision_msgs/VisionInfo: how detections are made, where classes are described."""
    return vision_msgs.VisionInfo(header=header, method=method, database_location=database)


def json_from_detections(detections: Detections, classes: Sequence[str], header: Header) -> str:
    """Return COCO results as JSON; image_id is the stamp in nanoseconds.

    Source: https://cocodataset.org/#format-results; category_name is added to it.
    """
    stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
    boxes = xywh_from_xyxy(detections.boxes)
    results: list[dict[str, Any]] = []
    for i, label in enumerate(detections.labels):
        result = {
            'image_id': stamp,
            'category_id': int(label) + 1,
            'category_name': classes[label],
            'bbox': boxes[i].round(2).tolist(),
            'score': round(float(detections.scores[i]), 4),
        }
        if detections.masks is not None:
            result['segmentation'] = encode_mask(detections.masks[i])
        results.append(result)
    return json.dumps(results)


def diagnostics(
    name: str, level: str, text: str, values: Mapping[str, object], stamp: Any
) -> DiagnosticArray:
    """Make the message for /diagnostics.

    Args:
        name: of the node.
        level: 'ok', 'warn' or 'error'.
        text: one line for people.
        values: for tools; floats are rounded to two places.
        stamp: builtin_interfaces/Time.
    """
    pairs = [
        KeyValue(key=key, value=f'{value:.2f}' if isinstance(value, float) else str(value))
        for key, value in values.items()
    ]
    number = getattr(DiagnosticStatus, level.upper())
    status = DiagnosticStatus(level=number, name=name, message=text, values=pairs)
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])
