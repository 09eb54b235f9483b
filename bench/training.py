"""Measure training: images a second with cached features, beside torchvision's reference loop.

    python bench/training.py [--quick] [--tables] [--json FILE]

The same Faster R-CNN with the same weights (random, which makes no difference to speed), batch,
hyper-parameters and 640x480 JPEG files on both sides. Ours: `synth-detect train` with a full
cache, as in every epoch but the first ones, features in float16. The peer: the loop of
torchvision's references/detection/engine.py, with PIL in a loader process, float32 in PyTorch's
own layout, and the body frozen as torchvision freezes it: no gradient, FrozenBatchNorm2d. Both run
in this process, in turns, after a warm-up; rates are medians over the turns, by wall time.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from PIL import Image
from report import Result, report, table
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.transforms.functional import pil_to_tensor

from synth_detect_ros.config import AugmentConfig, CacheConfig, FasterRCNNConfig, TrainConfig
from synth_detect_ros.dataset.loader import TrainingSet, read_labelled
from synth_detect_ros.detectors.detector import to_tensor
from synth_detect_ros.detectors.extractors.freezing import apply_freeze
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.roi_pooling import RoIPooling
from synth_detect_ros.training.cached_training import CachedFeatures
from synth_detect_ros.training.checkpoint import Progress
from synth_detect_ros.training.feature_cache import SUFFIX
from synth_detect_ros.training.train import train

WIDTH, HEIGHT, CLASSES = 640, 480, 3
BATCH = 2
# Different pictures among the images of the data set.
PICTURES = 20
# Steps before the first turn.
WARM_UP = 3
EXTRACTORS = {
    'resnet50': 'train_resnet50_fpn_cached',
    'mobilenet_v2': 'train_mobilenet_v2_cached',
}


def write_images(folder: Path, count: int) -> Path:
    """Write a COCO data set of `PICTURES` pictures, over and over again."""
    (folder / 'images').mkdir(parents=True)
    pictures = [picture(seed) for seed in range(PICTURES)]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        content, rows = pictures[index % PICTURES]
        name = f'{index:06d}.jpg'
        (folder / 'images' / name).write_bytes(content)
        images.append({'id': index, 'file_name': name, 'width': WIDTH, 'height': HEIGHT})
        annotations += [{**row, 'image_id': index} for row in rows]
    for number, row in enumerate(annotations):
        row['id'] = number
    categories = [{'id': i + 1, 'name': f'object{i}'} for i in range(CLASSES)]
    coco = {'images': images, 'annotations': annotations, 'categories': categories}
    (folder / 'annotations.json').write_text(json.dumps(coco))
    return folder


def picture(seed: int) -> tuple[bytes, list[dict[str, Any]]]:
    """Return a JPEG of one to three coloured rectangles on smooth noise, and its annotations."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (HEIGHT // 16, WIDTH // 16, 3), np.uint8)
    image = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    rows = []
    for _ in range(rng.integers(1, 4)):
        w, h = (int(v) for v in rng.integers(40, 200, 2))
        x, y = int(rng.integers(0, WIDTH - w)), int(rng.integers(0, HEIGHT - h))
        label = int(rng.integers(CLASSES))
        image[y : y + h, x : x + w] = np.eye(3)[label] * 200
        row = {'category_id': label + 1, 'bbox': [x, y, w, h], 'area': w * h, 'iscrowd': 0}
        rows.append(row)
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return encoded.tobytes(), rows


class PeerImages(Dataset[tuple[torch.Tensor, dict[str, torch.Tensor]]]):
    """Images and targets as torchvision's references read them: PIL, then a float tensor."""

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / 'annotations.json').read_text())
        self.files = [folder / 'images' / row['file_name'] for row in content['images']]
        self.rows: list[list[Any]] = [[] for _ in self.files]
        for row in content['annotations']:
            self.rows[row['image_id']].append(row)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with Image.open(self.files[index]) as file:
            image = pil_to_tensor(file.convert('RGB')).float() / 255
        boxes = torch.tensor([row['bbox'] for row in self.rows[index]], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([row['category_id'] - 1 for row in self.rows[index]])
        if torch.rand(1) < 0.5:  # their only augmentation by default
            image = image.flip(-1)
            boxes[:, [0, 2]] = WIDTH - boxes[:, [2, 0]]
        return image, {'boxes': boxes, 'labels': labels}


class PeerBody(nn.Module):
    """The first stage in PyTorch's own layout, its batch norm as torchvision freezes it."""

    def __init__(self, blocks: nn.ModuleList, taps: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks, self.taps = freeze_norms(blocks).requires_grad_(False), taps

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the tapped maps of (B, 3, H, W) images."""
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                maps.append(x)
        return maps


def freeze_norms(module: nn.Module) -> nn.Module:
    """Replace each BatchNorm2d by a FrozenBatchNorm2d of the same values."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, child.eps)
            frozen.load_state_dict(child.state_dict(), strict=False)
            setattr(module, name, frozen)
        else:
            freeze_norms(child)
    return module


def peer_detector(config: FasterRCNNConfig) -> RCNN:
    """Return the same network made of torchvision's own operators only."""
    torch.manual_seed(0)
    detector = RCNN(config, [f'object{i}' for i in range(CLASSES)])
    chain: Any = detector.neck.first_stage.module
    detector.neck.first_stage = PeerBody(chain.blocks, chain.taps)
    own = detector.transform
    detector.transform = GeneralizedRCNNTransform(
        config.min_side, config.max_side, own.image_mean, own.image_std
    )
    pooling = detector.roi_heads.box_roi_pool
    assert isinstance(pooling, RoIPooling)
    detector.roi_heads.box_roi_pool = MultiScaleRoIAlign(
        pooling.featmap_names, pooling.output_size, pooling.sampling_ratio
    )
    return detector.train()


def peer_steps(config: TrainConfig) -> Iterator[None]:
    """Train as references/detection/engine.py does, one step at a time."""
    detector = peer_detector(config.detector)
    parameters = [p for p in detector.parameters() if p.requires_grad]
    options = config.optimizer
    optimizer = torch.optim.SGD(
        parameters, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.001, total_iters=1000)
    images = PeerImages(Path(config.dataset))
    loader = DataLoader(
        images, config.batch, shuffle=True, num_workers=config.workers, collate_fn=tuple_of
    )
    while True:
        for batch, targets in loader:
            losses = detector(list(batch), [dict(t) for t in targets])
            total = sum(losses.values())
            assert isinstance(total, torch.Tensor)
            assert np.isfinite(total.item())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            scheduler.step()
            yield


def tuple_of(batch: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*batch, strict=True))


class Turns:
    """Times steps of ours, and after each turn lets the peer do as many.

    Args:
        peer: one step each; None for ours alone.
        steps: of a turn; the first turn begins after `WARM_UP` steps.

    Attributes:
        ours, peers: duration of each turn [s].
    """

    def __init__(self, peer: Iterator[None] | None, steps: int) -> None:
        self.peer, self.steps = peer, steps
        self.ours: list[float] = []
        self.peers: list[float] = []
        self.start = 0.0

    def __call__(self, progress: Progress) -> None:
        """Note the end of a step of ours."""
        done = progress.step - WARM_UP
        if done < 0 or done % self.steps:
            return
        if done:
            self.ours.append(time.perf_counter() - self.start)
        if self.peer is not None:
            start = time.perf_counter()
            for _ in range(self.steps if done else WARM_UP):
                next(self.peer)
            if done:
                self.peers.append(time.perf_counter() - start)
        self.start = time.perf_counter()


def prepare(folder: Path, extractor: str, images: int) -> TrainConfig:
    """Return a run on `images` files whose cache is full, copies of few pictures.

    Computing each entry would take the time of an epoch and tell nothing: a copy of an image has
    the same features. The cache has its real size, and so is read as it would be.
    """
    torch.manual_seed(0)
    net = getattr(torchvision.models, extractor)()
    weights = folder / 'weights.safetensors'
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, weights)
    config = TrainConfig(
        dataset=str(write_images(folder / 'set', images)),
        out=str(folder / 'run'),
        val_share=0.0,
        batch=BATCH,
        detector=FasterRCNNConfig(extractor=extractor, weights=str(weights)),
        augment=AugmentConfig(
            flip=False, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, variants=1
        ),
        cache=CacheConfig(enabled=True, folder=str(folder / 'features')),
        device='cpu',
    )
    detector = RCNN(config.detector, [f'object{i}' for i in range(CLASSES)])
    apply_freeze(detector, detector.stages, 'first_stage')
    labelled = read_labelled(folder / 'set' / 'images', folder / 'set' / 'annotations.json')
    data = TrainingSet(labelled, range(images), config.augment, config.seed)
    kept = CachedFeatures(detector, data, folder / 'features', config.cache.dtype, amp=False)
    for entry in range(images):
        if entry < PICTURES:
            maps, _ = detector.features(to_tensor(data[entry][0], torch.device('cpu')))
        else:
            maps = kept.cache.get(entry % PICTURES)
        kept.cache.put(entry, maps)
    return config


def measure(config: TrainConfig, images: int, steps: int, turns: int) -> dict[str, Any]:
    """Train ours and the peer in turns; return images a second of both and what else there is.

    Args:
        config: of ours, see `prepare`.
        images: in the data set.
        steps: of a turn, for each.
        turns: how many.
    """
    watch = Turns(peer_steps(config), steps)
    train(config.replace(steps=WARM_UP + steps * turns), watch)
    plain = Turns(None, steps)
    off = config.replace(cache=CacheConfig(), out=config.out + '_plain')
    train(off.replace(steps=WARM_UP + steps), plain)
    size = cache_bytes(config)
    images_a_turn = steps * config.batch
    return {
        'ours': images_a_turn / median(watch.ours),
        'peer': images_a_turn / median(watch.peers),
        'ours_by_turn': [images_a_turn / seconds for seconds in watch.ours],
        'peer_by_turn': [images_a_turn / seconds for seconds in watch.peers],
        'ours_without_cache': images_a_turn / median(plain.ours),
        'cache_megabytes_an_image': size / images / 1e6,
        'images': images,
    }


def cache_bytes(config: TrainConfig) -> int:
    return sum(p.stat().st_size for p in Path(config.cache.folder).glob(f'*/*{SUFFIX}'))


def epochs(counts: tuple[int, ...], steps: int) -> list[tuple[object, ...]]:
    """Return rows of images, seconds an epoch and gigabytes of the cache, for MobileNetV2."""
    rows: list[tuple[object, ...]] = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            config = prepare(Path(folder), 'mobilenet_v2', count)
            watch = Turns(None, steps)
            train(config.replace(steps=WARM_UP + steps), watch)
            seconds = watch.ours[0] / steps * count / BATCH
            rows.append((count, seconds, cache_bytes(config) / 1e9))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--extractors', nargs='*', choices=EXTRACTORS, default=list(EXTRACTORS))
    parser.add_argument('--images', type=int, default=1000, help='in the data set')
    parser.add_argument('--steps', type=int, default=10, help='of a turn')
    parser.add_argument('--turns', type=int, default=3, help='of ours and of the peer')
    parser.add_argument('--quick', action='store_true', help='40 images, one turn of 2 steps')
    parser.add_argument('--tables', action='store_true', help='seconds an epoch by images too')
    parser.add_argument('--json', type=Path, help='file for the results')
    args = parser.parse_args()
    images, steps, turns = (40, 2, 1) if args.quick else (args.images, args.steps, args.turns)
    logging.disable(logging.WARNING)
    results = []
    for extractor in args.extractors:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(prepare(Path(folder), extractor, images), images, steps, turns)
        ours, peer = found.pop('ours'), found.pop('peer')
        name = EXTRACTORS[extractor]
        results.append(Result(name, ours, peer, 'images/s', 'torchvision loop', found))
    report(results, args.json)
    if args.tables:
        print(table(('images', 's an epoch', 'GB of cache'), epochs((250, 1000, 4000), steps)))


if __name__ == '__main__':
    main()
