"""Rendering in `synthesize_node`, as a stage that is killed."""

from __future__ import annotations

import os
from pathlib import Path

import scenes

from soak.ros.node_processes import arguments
from soak.stages import Stage, dataset_differs
from synth_detect_ros.config.options import to_yaml
from synth_detect_ros.nodes import synthesize_node

COUNT = 3  # frames of the background set that `scenes` writes: nothing is left to be captured


def _prepare(inputs: Path) -> None:
    scenes.config(inputs)


def _configuration(out: Path) -> Path:
    return out.parent / f'{out.name}.synthesize.yaml'


def _begin(inputs: Path, out: Path) -> None:
    config = scenes.config(inputs, count=20, out=str(out))
    _configuration(out).write_text(to_yaml(config))


def _render(inputs: Path, out: Path) -> int:
    os.environ['ROS_LOG_DIR'] = str(inputs / 'ros')
    namespace = f'render_{os.getpid()}'
    backgrounds, config = inputs / 'backgrounds', _configuration(out)
    return synthesize_node.main(
        arguments(namespace, out=backgrounds, count=COUNT, render=True, synthesize=config)
    )


STAGE = Stage('node that renders', _prepare, _render, dataset_differs, begin=_begin)
