"""Nodes of the package as processes, with parameters and a namespace of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from soak.processes import Process
from soak.shim import Plan
from synth_detect_ros.nodes import camera_replay_node, detect_node, synthesize_node

Main = Callable[[list[str]], int]
MAINS: dict[str, Main] = {
    'detect_node': detect_node.main,
    'synthesize_node': synthesize_node.main,
    'camera_replay_node': camera_replay_node.main,
}


def arguments(namespace: str, **parameters: Any) -> list[str]:
    """Return the words of a command line that set namespace and parameters."""
    words = ['--ros-args', '-r', f'__ns:=/{namespace}']
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += ['-p', f'{name}:={text}']
    return words


def start_node(
    name: str, folder: Path, namespace: str, plan: Plan | None = None, **parameters: Any
) -> Process:
    """Start a node; its output goes into a log in a folder."""
    log = folder / f'{name}{len(list(folder.glob(f"{name}*.log")))}.log'
    home = {'XDG_CACHE_HOME': str(folder / 'cache'), 'ROS_LOG_DIR': str(folder / 'ros')}
    words = arguments(namespace, **parameters)
    return Process(lambda: MAINS[name](words), log, plan, home)
