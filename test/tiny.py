"""Data sets and models small enough for tests, made on the spot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from pycocotools import mask as rle
from safetensors.torch import save_file

from synth_detect_ros.bundle import save_bundle
from synth_detect_ros.config import DetectorConfig, TrainConfig
from synth_detect_ros.config.options import build
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.experiments.grid import merge

WIDTH, HEIGHT = 128, 96
CLASSES = ('red', 'green')
COLOURS = ((220, 30, 30), (30, 200, 40))
TINY_DETECTOR: dict[str, Any] = {
    'weights': 'none',
    'channels': 16,
    'min_side': HEIGHT,
    'rpn': {'anchor_scale': 3.0, 'proposals': 50},
    'box_head': {'convs': 1, 'channels': 32},
}
TINY_SSD: dict[str, Any] = {
    'architecture': 'ssd',
    'channels': 32,
    'convs': 1,
    'extra_channels': [32],
}

TINY_DENSE: dict[str, Any] = {'architecture': 'dense', 'channels': 16, 'convs': 1}


def write_dataset(folder: Path, count: int = 8, seed: int = 0) -> Path:
    """Write a COCO data set of coloured rectangles on noise, in the layout of a synthetic set."""
    (folder / 'images').mkdir(parents=True)
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for index in range(count):
        image = rng.integers(0, 90, (HEIGHT, WIDTH, 3), np.uint8)
        label = index % 2
        width, height = (int(v) for v in rng.integers(24, 48, 2))
        x, y = int(rng.integers(0, WIDTH - width)), int(rng.integers(0, HEIGHT - height))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[y : y + height, x : x + width] = 1
        image[mask > 0] = COLOURS[label]
        name = f'{index:06d}.png'
        cv2.imwrite(str(folder / 'images' / name), image[..., ::-1])
        encoded = rle.encode(np.asfortranarray(mask))
        images.append({'id': index, 'file_name': name, 'width': WIDTH, 'height': HEIGHT})
        annotations.append(
            {
                'id': index + 1,
                'image_id': index,
                'category_id': label + 1,
                'bbox': [x, y, width, height],
                'area': width * height,
                'iscrowd': 0,
                'segmentation': {'size': encoded['size'], 'counts': encoded['counts'].decode()},
            }
        )
    categories = [{'id': i + 1, 'name': name} for i, name in enumerate(CLASSES)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (folder / 'annotations.json').write_text(json.dumps(content))
    return folder


def write_weights(path: Path, name: str = 'mobilenet_v2') -> Path:
    """Write the state dict of a torchvision classifier: stands for pre-trained weights."""
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
    return path


def detector_config(**values: Any) -> Any:
    """Return a network that takes milliseconds; values of groups are merged into it."""
    return build(DetectorConfig, tiny_detector(values))


def tiny_detector(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options over those of a tiny network of the same architecture."""
    if values.get('architecture') == 'ssd':
        return merge({'weights': 'none', 'min_side': HEIGHT}, TINY_SSD, values)
    if values.get('architecture') == 'dense':
        return merge({'weights': 'none', 'min_side': HEIGHT}, TINY_DENSE, values)
    return merge(TINY_DETECTOR, values)


def train_config(dataset: Path, out: Path, **values: Any) -> TrainConfig:
    """Return a run of a few steps; `detector` values are merged into the tiny network."""
    detector = tiny_detector(values.pop('detector', {}))
    defaults = dict(
        dataset=str(dataset),
        out=str(out),
        freeze='none',
        steps=4,
        workers=0,
        val_share=0.25,
        device='cpu',
        log_every=1,
        amp=False,  # bit by bit the same, on processors with and without bfloat16
    )
    return build(TrainConfig, {**defaults, **values, 'detector': detector})


# Source of an own extractor, `make`: one map of stride 16.
OWN_EXTRACTOR = """
from torch import nn

class Net(nn.Module):
    out_channels, stride = 6, 16
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 16, 16)
    def forward(self, x):
        return self.conv(x)

def make():
    return Net()
"""


def write_bundle(folder: Path, **values: Any) -> Path:
    """Write a bundle with random weights; it finds arbitrary things at low scores."""
    torch.manual_seed(0)
    detector = build_detector(detector_config(score_threshold=0.0, **values), CLASSES)
    return save_bundle(folder, detector, {'freeze': {'policy': 'none'}})
