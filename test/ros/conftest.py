"""Fixtures of the tests that run a ROS graph; without ROS these are left out."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

if importlib.util.find_spec('rclpy'):
    from graph import Graph
else:
    collect_ignore_glob = ['test_*.py']


def pytest_report_header() -> str | None:
    """Say why the tests of this folder are missing."""
    missing = importlib.util.find_spec('rclpy') is None
    return 'rclpy is not installed: test/ros is left out' if missing else None


def pytest_configure(config: pytest.Config) -> None:
    """Let lark, which rclpy's messages import, use a deprecated module."""
    config.addinivalue_line('filterwarnings', "ignore:module 'sre_:DeprecationWarning")


@pytest.fixture
def graph(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Graph]:
    """Return a graph in a namespace of its own."""
    name = re.sub(r'\W+', '_', request.node.name).strip('_')
    graph = Graph(tmp_path, f'/{name}')
    yield graph
    graph.close()


@pytest.fixture
def scene() -> Callable[[int], np.ndarray]:
    """Return a function that gives sharp, well exposed 160x120 RGB frames, all different."""

    def make(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(40, 220, (12, 16, 3), dtype=np.uint8)
        return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_NEAREST)

    return make
