"""`detect_node`: a lifecycle node that detects objects in live images.

Start it with GOMP_SPINCOUNT=1000 in the environment, as detect.launch.py does: otherwise the
network's threads spin for long after each layer, on cores that camera and transport need.
"""

from __future__ import annotations

import reprlib
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from synth_detect_ros.compute.memory import give_back_memory
from synth_detect_ros.config import DetectConfig
from synth_detect_ros.errors import MessageError, SynthDetectError
from synth_detect_ros.images.depth import BitDepth
from synth_detect_ros.inference.model import Model, open_model
from synth_detect_ros.nodes import conversions
from synth_detect_ros.nodes.camera.notices import Notices, States
from synth_detect_ros.nodes.camera.reception import receive_images
from synth_detect_ros.nodes.camera.steady import SteadyStream
from synth_detect_ros.nodes.latency import Latency, LatencyWindow, age_of
from synth_detect_ros.nodes.lifecycle import survive_impossible_transitions
from synth_detect_ros.nodes.outputs import Outputs
from synth_detect_ros.nodes.parameters import apply_changes, declare_parameters, read_parameters
from synth_detect_ros.nodes.running import log_last, run_node
from synth_detect_ros.nodes.topics import RELIABLE, every, publisher
from synth_detect_ros.nodes.worker import LatestOnlyWorker

# The first call of a network allocates and compiles, so it gets an image of a usual size on start.
_WARM_UP_SIZE = (480, 640)
_PATIENCE_S = 5.0


class _Arrived(NamedTuple):
    """An image, its age then [ms] and the time [s] when it reached the node."""

    message: Image | CompressedImage
    transport: float | None
    time_s: float


class DetectNode(LifecycleNode):
    """Detects in the latest image, in a thread of its own, so that the executor never blocks.

    configure loads the model, activate subscribes, deactivate unsubscribes, cleanup releases all.
    An image that cannot be converted is skipped and counted; each kind is said once.

    Attributes:
        status: exit status of the process; None unless the start failed.
    """

    def __init__(self) -> None:
        super().__init__('detect_node')
        declare_parameters(self, DetectConfig, dynamic=['score_threshold', 'proposals'])
        self.config = read_parameters(self, DetectConfig)
        apply_changes(self, DetectConfig, self._reconfigure)
        self._start_counting()
        self._depth = BitDepth(self.config.bits)
        self._fault = ''
        self._states = States(self.get_logger().warning, self.get_logger().info)
        self._model: Model | None = None
        self._worker: LatestOnlyWorker[_Arrived] | None = None
        self._images = receive_images(
            self, self._on_image, compressed=self.config.compressed,
            reliability=self.config.reliability,
        )  # fmt: skip
        self._outputs: Outputs | None = None
        self._diagnostics = publisher(self, DiagnosticArray, '/diagnostics', RELIABLE)
        every(self, 1.0, self._report)
        survive_impossible_transitions(self)
        self.status = None if not self.config.autostart or self._start() else 1

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and make the publishers."""
        try:
            self._model = self._load()
        except (SynthDetectError, RuntimeError, OSError) as error:  # rclpy would swallow it
            self.get_logger().error(f'Not configured: {error}')
            return TransitionCallbackReturn.FAILURE
        self._start_counting()
        self._outputs = Outputs(self, self._model, publish_json=self.config.publish_json)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish ~/vision_info and subscribe to the images."""
        result = super().on_activate(state)
        header = Header(stamp=self.get_clock().now().to_msg())
        self._outputs.announce(self.config.model, header)
        self._worker = LatestOnlyWorker(self._process, 'detect')
        self._images.open()
        self.get_logger().info(f'Detecting in {self._images.topic}')
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish the current image."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and the publishers."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from any state."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        self._release()
        return super().on_error(state)

    def destroy_node(self) -> None:
        """End the thread before its publishers."""
        self._stop()
        super().destroy_node()

    def _start(self) -> bool:
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def _start_counting(self) -> None:
        self._latency = LatencyWindow()
        self._stream = SteadyStream()
        self._skipped = Notices(self.get_logger().warning, 'Image skipped')
        self._ageless = Notices(self.get_logger().warning, 'Age left out of /diagnostics')

    def _load(self) -> Model:
        config = self.config
        config.require()
        model = open_model(
            Path(config.model), config.device, config.threads, config.runtime, config.proposals,
            config.trust_code,
        )  # fmt: skip
        model.detect(np.zeros((*(model.input_size or _WARM_UP_SIZE), 3), np.uint8))
        self.get_logger().info(
            f'{config.model} finds {", ".join(model.classes)}, '
            f'{"with" if model.has_masks else "without"} masks, on {model.device} '
            f'by {model.runtime}'
        )
        return model

    def _stop(self) -> None:
        self._images.close()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
            log_last(self, (self._skipped.summary(), self._ageless.summary()))

    def _release(self) -> None:
        self._stop()
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        self._model = None
        self._fault = ''
        give_back_memory()

    def _reconfigure(self, config: DetectConfig) -> None:
        if self._model is not None:
            self._model.keep_proposals(config.proposals)  # refuses what the model cannot do
        self.config = config

    def _on_image(self, message: Image | CompressedImage) -> None:
        transport, _ = age_of(message.header.stamp, self.get_clock().now().nanoseconds)
        alone = self._worker.offer(_Arrived(message, transport, time.perf_counter()))
        self._latency.received(time.monotonic(), dropped=not alone)

    def _process(self, arrived: _Arrived) -> None:
        """Detect in one image; runs in the worker's thread."""
        try:
            self._detect(arrived)
            self._fault = ''
        except MessageError as error:
            self._latency.broken()
            self._fault = str(error)
            self._skipped.add(self._fault)
        except Exception as error:
            if not self.context.ok():  # publishing fails while ROS shuts down
                return
            self._latency.broken()
            self._fault = f'{type(error).__name__}: {error}'
            self.get_logger().error(
                f'Detection failed: {self._fault}', throttle_duration_sec=_PATIENCE_S
            )

    def _detect(self, arrived: _Arrived) -> None:
        begin, message = time.perf_counter(), arrived.message
        image = conversions.rgb_from_message(message, self._depth)
        self._note_change(image, message)
        ready = time.perf_counter()
        detections = self._model.detect(
            image, self.config.score_threshold, masks=self._outputs.want_masks()
        )
        found = time.perf_counter()
        self._outputs.publish(image, detections, message.header)
        end = time.perf_counter()
        age, unknown = age_of(message.header.stamp, self.get_clock().now().nanoseconds)
        if unknown:
            self._ageless.add(unknown)
        self._latency.processed(
            Latency(
                inference=1e3 * (found - ready),
                overhead=1e3 * (ready - begin + end - found),
                wait=1e3 * (begin - arrived.time_s),
                age=age,
                transport=arrived.transport,
                stages=self._model.timings,
            )
        )

    def _note_change(self, image: NDArray[np.uint8], message: Image | CompressedImage) -> None:
        """Say when images are those of another camera, or mode of it."""
        height, width = image.shape[:2]
        frame = reprlib.repr(message.header.frame_id)
        like = f'{width}x{height} {conversions.encoding_of(message)} of frame {frame}'
        if before := self._stream.hear(like, time.monotonic()):
            self.get_logger().warning(
                f'Images on {self._images.topic} are {like} now, {before} before: another camera, '
                'or another mode. Detection goes on; where it finds less than before, train with '
                'backgrounds of this camera.'
            )

    def _report(self) -> None:
        """Publish the state on /diagnostics; warn when images do not come, or are lost."""
        level, text = 'ok', 'detecting'
        if self._worker is None:
            text = 'inactive' if self._model else 'unconfigured'
        else:
            trouble = self._images.trouble()
            self._states.tell(trouble, f'{self._images.topic} is well again', time.monotonic())
            if trouble or self._fault:
                level = 'error' if self._fault else 'warn'
                text = '; '.join(filter(None, (trouble, self._fault)))
        values = {'model': self.config.model, **self._images.values()}
        self._diagnostics.publish(
            conversions.diagnostics(
                self.get_fully_qualified_name(), level, text,
                {**values, **self._latency.summary(time.monotonic())},
                self.get_clock().now().to_msg(),
            )
        )  # fmt: skip


def main(args: list[str] | None = None) -> int:
    """Run the node; return 1 when it could not start."""
    return run_node('detect_node', DetectNode, args)


if __name__ == '__main__':
    sys.exit(main())
