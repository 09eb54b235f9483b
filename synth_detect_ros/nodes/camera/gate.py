"""Which messages of a live camera a capture may use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from synth_detect_ros.config import CaptureConfig
from synth_detect_ros.errors import BackgroundError, GeometryError, MessageError
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.images.depth import BitDepth
from synth_detect_ros.nodes.camera.notices import Notices
from synth_detect_ros.nodes.camera.steady import (
    OTHER_S,
    OTHER_TIMES,
    SteadyCamera,
    Streak,
    difference,
)
from synth_detect_ros.nodes.conversions import camera_from_message, rgb_from_message
from synth_detect_ros.nodes.encodings import UnknownEncodingError

# Where nothing else has come for so long since the start, nothing ever will.
_HOPELESS_S = 10.0


class OtherSizeError(MessageError):
    """An image has another size than its camera."""


# What a user sets wrong; other faults may end by themselves.
_SETTINGS = (UnknownEncodingError, OtherSizeError, GeometryError)


class CameraGate:
    """Lets images through that are whole and of the one camera of a background set.

    What cannot be used is skipped, counted, and said once a kind. A capture ends only where the
    camera is another one for good, or sends since the start what it can never use.

    Args:
        config: of the capture.
        kept: intrinsics of frames of a former run.
        names: of the topics of images and CameraInfo, for messages.
        say: the log.

    Attributes:
        reason: why the last image, or the last CameraInfo, was not let through; '' when it was.
    """

    def __init__(
        self,
        config: CaptureConfig,
        kept: Camera | None,
        names: tuple[str, str],
        say: Callable[[str], object],
    ) -> None:
        self._config, (self._topic, self._info_topic) = config, names
        self.images, self.infos = Notices(say, 'Image skipped'), Notices(say, 'CameraInfo skipped')
        self._depth = BitDepth(config.bits)
        self._camera = SteadyCamera(kept)
        self._sizes = Streak[tuple[int, int]]()
        self._bad_images, self._bad_infos = Streak[str](), Streak[str]()
        self._heard = self._worked = False
        self.reason = ''

    def hear(self, info: CameraInfo, time_s: float) -> None:
        """Take note of intrinsics.

        Args:
            info: from the camera driver.
            time_s: when it came, on a clock that never jumps [s].

        Raises:
            BackgroundError: they are those of another camera for good.
            GeometryError: none that make sense came since the start.
        """
        try:
            camera = camera_from_message(info, rectified=self._config.rectified)
        except GeometryError as error:
            self._camera.hear(None, time_s)
            self._skip(self.infos, error, time_s)
            return
        self._heard = True
        self._bad_infos.hear(None, time_s)
        self._hear(camera, time_s)

    def read(self, message: Image | CompressedImage, time_s: float) -> NDArray[np.uint8] | None:
        """Return an image as (H, W, 3) uint8 RGB; None when it cannot be used, see `reason`.

        Args:
            message: from the camera driver.
            time_s: when it came, on a clock that never jumps [s].

        Raises:
            BackgroundError: images are those of another camera for good.
            MessageError: none that can be used came since the start.
        """
        try:
            image = rgb_from_message(message, self._depth)
            size = image.shape[1], image.shape[0]
            if hfov_deg := self._config.camera_hfov_deg:
                self._hear(Camera.from_fov(*size, hfov_deg), time_s)
            self._check_size(size, time_s)
        except MessageError as error:
            self._skip(self.images, error, time_s)
            return None
        self._bad_images.hear(None, time_s)
        if self.camera(time_s) is None:
            self.reason = self._doubt()
            return None
        self._worked, self.reason = True, ''
        return image

    def camera(self, time_s: float) -> Camera | None:
        """Return the intrinsics of an image that comes now; None while they are in doubt."""
        return self._camera.now(time_s)

    def keep(self, camera: Camera) -> None:
        """Hold all later images to the intrinsics of a frame that is kept."""
        self._camera.kept = camera

    def _hear(self, camera: Camera, time_s: float) -> None:
        self._camera.hear(camera, time_s)
        if other := self._camera.other(time_s):
            raise self._other_camera(difference(other, self._camera.kept))

    def _check_size(self, size: tuple[int, int], time_s: float) -> None:
        """Refuse an image of another size than the intrinsics; end where it stays so."""
        self._sizes.hear(size, time_s)
        camera = self._camera.kept or self.camera(time_s)
        if camera is None or size == camera.size:
            return
        if self._usable and self._sizes.lasts(OTHER_TIMES, OTHER_S, time_s):
            raise self._other_camera(
                'images of {}x{} pixels in place of {}x{}'.format(*size, *camera.size)
            )
        if self._config.camera_hfov_deg:
            raise OtherSizeError('{}x{} pixels among images of {}x{}'.format(*size, *camera.size))
        raise OtherSizeError(
            '{} has {}x{} pixels, but {} describes {}x{}. Use the CameraInfo of the same camera '
            'and mode, or calibrate this mode.'.format(
                self._topic, *size, self._info_topic, *camera.size
            )
        )

    @property
    def _usable(self) -> bool:
        """Whether anything that came since the start, or in a former run, could be used."""
        return self._worked or self._camera.kept is not None

    def _skip(self, notices: Notices, error: Exception, time_s: float) -> None:
        """Count what cannot be used; end where that is all there was, and a setting is why."""
        self.reason = str(error)
        notices.add(self.reason)
        bad = self._bad_images if notices is self.images else self._bad_infos
        bad.hear(self.reason if isinstance(error, _SETTINGS) else None, time_s)
        if not self._usable and bad.lasts(OTHER_TIMES, _HOPELESS_S, time_s):
            raise error

    def _doubt(self) -> str:
        if self._config.camera_hfov_deg:
            return 'the size of the images is not known yet: it has to be the same in a row'
        if self._camera.kept is not None and self._heard:
            return (
                f'{self._info_topic} does not say what it said of the frames that are kept; if '
                f'that stays so for {OTHER_S:g} s, it is another camera, and the capture ends'
            )
        return f'no CameraInfo on {self._info_topic} that can be used so far'

    def _other_camera(self, what: str) -> BackgroundError:
        return BackgroundError(
            f'The camera is another one than that of the frames in {self._config.out}, and has '
            f'been for {OTHER_S:g} s: {what}. A set belongs to one camera, so the capture ends; '
            'all frames that were kept are there. Give another folder for this camera, or start '
            'again when the first one is back.'
        )
