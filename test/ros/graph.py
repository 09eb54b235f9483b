"""A real graph: nodes of the package as processes, and one node of the tests among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from synth_detect_ros.nodes import conversions

ROOT = Path(__file__).parents[2]
# Starting a process that imports torch takes this long on a busy machine of two cores.
PATIENCE_S = 60.0


class NodeProcess:
    """A node of the package in a process of its own; its output is kept."""

    def __init__(self, module: str, log: Path, *arguments: str) -> None:
        self._log = log
        with log.open('w') as file:
            self._process = subprocess.Popen(
                [sys.executable, '-m', f'synth_detect_ros.nodes.{module}', *arguments],
                cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
                env=os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'default'},
            )  # fmt: skip
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout: float = PATIENCE_S) -> int:
        return self._process.wait(timeout)

    def interrupt(self) -> int:
        if self.running:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


class Graph:
    """The tests' own node, and the processes they started."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self._folder, self.namespace = folder, namespace
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node('test', context=self._context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._processes: list[NodeProcess] = []

    def start(
        self, module: str, remap: dict[str, str] | None = None, **parameters: Any
    ) -> NodeProcess:
        """Start a node in the namespace of the test."""
        arguments = ['--ros-args', '-r', f'__ns:={self.namespace}']
        for name, value in (remap or {}).items():
            arguments += ['-r', f'{name}:={value}']
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ['-p', f'{name}:={text}']
        log = self._folder / f'{module}{len(self._processes)}.log'
        self._processes.append(NodeProcess(module, log, *arguments))
        return self._processes[-1]

    def listen(self, kind: Any, topic: str, qos: Any = 10) -> list[Any]:
        """Subscribe; return the list that messages are put into."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def call(self, kind: Any, service: str, request: Any = None) -> Any:
        """Call a service and return its answer."""
        client = self.node.create_client(kind, service)
        self.until(client.service_is_ready, f'service {service}')
        future = client.call_async(request or kind.Request())
        self.until(future.done, f'answer of {service}')
        return future.result()

    def until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE_S) -> None:
        """Spin until something holds; fail with the logs of all processes otherwise."""
        end = time.monotonic() + timeout
        while not condition():
            self._executor.spin_once(timeout_sec=0.02)
            if time.monotonic() > end:
                logs = '\n'.join(process.output for process in self._processes)
                pytest.fail(f'waited {timeout} s for: {what}\n{logs}')

    def spin(self, seconds: float) -> None:
        """Let messages flow for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        """End every process that still runs, then the node."""
        for process in self._processes:
            if process.running:
                process.interrupt()
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


class FakeCamera:
    """Publishes frames and CameraInfo that a test may spoil."""

    def __init__(self, graph, frames, camera, spoil=lambda image, info: (image, info)):
        images = graph.node.create_publisher(Image, 'image', 5)
        infos = graph.node.create_publisher(CameraInfo, 'camera_info', 5)
        self.stamps: list[Any] = []

        def tick():
            header = Header(stamp=graph.node.get_clock().now().to_msg(), frame_id='optical')
            image = conversions.image_from_rgb(frames[self.sent % len(frames)], header)
            image, info = spoil(image, conversions.message_from_camera(camera, header))
            if info is not None:
                infos.publish(info)
            images.publish(image)
            self.stamps.append(header.stamp)

        graph.node.create_timer(0.05, tick)

    @property
    def sent(self) -> int:
        return len(self.stamps)
