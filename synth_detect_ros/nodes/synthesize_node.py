"""`synthesize_node`: capture background frames and intrinsics of a live camera, then render."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger

from synth_detect_ros.config import CaptureConfig
from synth_detect_ros.dataset.backgrounds import BackgroundWriter, FrameRecord, read_background_set
from synth_detect_ros.dataset.capture import FrameSelector, stall
from synth_detect_ros.folders import FolderLock
from synth_detect_ros.nodes import conversions, topics
from synth_detect_ros.nodes.camera.arrivals import PATIENCE_S
from synth_detect_ros.nodes.camera.gate import CameraGate
from synth_detect_ros.nodes.camera.notices import States
from synth_detect_ros.nodes.camera.reception import Reception, receive_images
from synth_detect_ros.nodes.parameters import declare_parameters, read_parameters
from synth_detect_ros.nodes.render_job import RenderJob, read_render_config
from synth_detect_ros.nodes.running import log_last, run_node

# Between the last frame and the end, so that the answer of capture_now still arrives.
_GRACE_S = 0.5


class SynthesizeNode(Node):
    """Captures a background set, or resumes one; with `render` it then renders the data set.

    Attributes:
        status: exit status of the process; None as long as there is work.
    """

    def __init__(self) -> None:
        super().__init__('synthesize_node')
        declare_parameters(self, CaptureConfig)
        self._config = config = read_parameters(self, CaptureConfig)
        self._render_config = read_render_config(config) if config.render else None
        config.require()
        self._lock = FolderLock(Path(config.out))
        self._writer = BackgroundWriter(Path(config.out), config.format)
        self._selector = self._resume()
        self._latest: Image | CompressedImage | None = None
        self._last_image = self._last_usable = self._last_kept = time.monotonic()
        self._paused, self._refused, self._reason = False, 0, ''
        self._states = States(self.get_logger().warning, self.get_logger().info)
        self._job: RenderJob | None = None
        self.status: int | None = None
        self._diagnostics = topics.publisher(
            self, DiagnosticArray, '/diagnostics', topics.RELIABLE
        )
        self._images = receive_images(
            self, self._on_image, compressed=config.compressed, reliability=config.reliability
        )
        self._infos = Reception(
            self, CameraInfo, 'camera_info', self._on_info, config.reliability, 'CameraInfo'
        )
        self._gate = CameraGate(
            config, self._writer.camera(), (self._images.topic, self._infos.topic),
            self.get_logger().warning,
        )  # fmt: skip
        for name in ('capture_now', 'pause', 'resume'):
            self.create_service(Trigger, f'~/{name}', getattr(self, f'_on_{name}'))
        topics.every(self, 1.0, self._report)
        self._images.open()
        if not config.camera_hfov_deg:
            self._infos.open()
        self._proceed()

    def destroy_node(self) -> None:
        """End the rendering first; what is on disk stays, and the next start resumes."""
        log_last(self, (self._gate.images.summary(), self._gate.infos.summary()))
        if self._job:
            self._job.stop()
        self._lock.release()
        super().destroy_node()

    def _resume(self) -> FrameSelector:
        if not self._writer.paths:
            return FrameSelector(self._config)
        kept = read_background_set(Path(self._config.out), calibrated=False)
        self.get_logger().info(f'Going on with {len(kept)} frames in {self._config.out}')
        return FrameSelector(self._config, map(kept.read, range(len(kept))))

    def _on_info(self, info: CameraInfo) -> None:
        self._gate.hear(info, time.monotonic())

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._last_image = time.monotonic()
        self._latest = message
        if self._paused:
            return
        image = self._gate.read(message, self._last_image)
        if image is None:
            self._reason = self._gate.reason
            return
        self._last_usable = self._last_image
        judgement = self._selector.judge(image, self._last_image)
        self._reason = judgement.reason
        if judgement.keep:
            self._keep(image, message, judgement.sharpness)
        else:
            self._refused += 1

    def _keep(
        self, image: NDArray[np.uint8], message: Image | CompressedImage, sharpness: float
    ) -> Path:
        camera = self._gate.camera(self._last_image)
        self._writer.save_camera(camera)
        self._gate.keep(camera)
        stamp = message.header.stamp
        record = FrameRecord(
            stamp=stamp.sec + stamp.nanosec * 1e-9,
            topic=self._images.topic,
            encoding=conversions.encoding_of(message),
            sharpness=sharpness,
        )
        path = self._writer.add(image, record)
        self._last_kept = time.monotonic()
        self._selector.add(image, self._last_kept)
        self._proceed()
        return path

    def _proceed(self) -> None:
        """Start rendering, or end, when all frames are kept."""
        kept, wanted = len(self._writer.paths), self._config.count
        if kept < wanted:
            self.get_logger().info(f'{kept} of {wanted} frames kept', throttle_duration_sec=2.0)
            return
        self.get_logger().info(f'{kept} frames of {wanted} are in {self._config.out}')
        self._images.close()
        self._infos.close()
        if self._render_config is None:
            topics.every(self, _GRACE_S, self._end)
        else:
            self._job = RenderJob(self._render_config)

    def _end(self) -> None:
        self.status = 0

    def _on_capture_now(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._latest is None or not self._images.is_open:
            response.message = f'no image on {self._images.topic} to keep'
            return response
        image = self._gate.read(self._latest, self._last_image)
        if image is None:
            response.message = self._gate.reason
            return response
        sharpness = self._selector.judge(image, time.monotonic()).sharpness
        response.message = f'{self._keep(image, self._latest, sharpness)} kept'
        response.success = True
        return response

    def _on_pause(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._paused = True
        return Trigger.Response(success=True, message='paused; capture_now and resume still work')

    def _on_resume(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._paused, self._last_kept = False, time.monotonic()
        return Trigger.Response(success=True, message='capturing')

    def _report(self) -> None:
        """Publish the state on /diagnostics; say troubles of the input; end after rendering."""
        level, text = self._rendering() if self._job else self._capturing()
        trouble = '' if level == 'ok' else text
        self._states.tell(trouble, f'{self._images.topic} is well again', time.monotonic())
        values = {
            'kept': len(self._writer.paths), 'wanted': self._config.count,
            'refused': self._refused, 'broken': self._gate.images.total,
            'broken_infos': self._gate.infos.total, **self._images.values(),
        }  # fmt: skip
        if self._job:
            job = self._job
            values |= {'rendered': job.done, 'images': job.total}
            values['images_per_second'] = job.timing.rate
        stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name()
        self._diagnostics.publish(conversions.diagnostics(name, level, text, values, stamp))

    def _capturing(self) -> tuple[str, str]:
        """Return level and text of the capture's state."""
        now = time.monotonic()
        text = f'{len(self._writer.paths)} of {self._config.count} frames kept'
        troubles = [t for t in (self._images.trouble(), self._no_intrinsics(now)) if t]
        if troubles:
            return 'warn', '; '.join(troubles)
        if self._paused:
            text = f'paused, {text}'
        elif now - self._last_usable > PATIENCE_S:
            return 'warn', f'{text}; images come, but none can be used: {self._reason}'
        elif why := stall(now - self._last_kept, self._reason):
            return 'warn', f'{text}; {why}'
        elif self._reason:
            text = f'{text}; the last frame was left out: {self._reason}'
        return 'ok', text

    def _no_intrinsics(self, now: float) -> str:
        """Return what is wrong where images come without any CameraInfo."""
        trouble = self._infos.trouble()
        if now - self._last_image > PATIENCE_S or self._gate.camera(now) is not None:
            return ''
        return trouble and (
            f'{trouble}; without CameraInfo no frame is kept: remap camera_info to the topic of '
            'the driver, or set camera_hfov_deg'
        )

    def _rendering(self) -> tuple[str, str]:
        """Return level and text of the rendering's state; set the status at its end."""
        job = self._job
        text = f'{job.done} of {job.total} images rendered, {job.timing.summary()}'
        self.get_logger().info(text, throttle_duration_sec=PATIENCE_S)
        if job.finished():
            self.get_logger().info(f'The data set is in {self._render_config.out}')
            self.status = 0
        return 'ok', text


def main(args: list[str] | None = None) -> int:
    """Run until all is captured (and rendered); 1 on an error, 130 when interrupted before."""
    return run_node('synthesize_node', SynthesizeNode, args, interrupted=130)


if __name__ == '__main__':
    sys.exit(main())
