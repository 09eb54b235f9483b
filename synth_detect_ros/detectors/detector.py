"""What all detectors have in common, for training, bundles, evaluation and the live node.

Each detector has its own extractor and heads; preprocessing, cached features and the form of the
results are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.extractor import Extractor
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.structures import Detections

# `boxes` (N, 4) float [px, edges], `labels` (N,) int64 class indices, and for detectors with masks
# `masks` (N, H, W) uint8. N = 0 is legal.
Target = Mapping[str, torch.Tensor]
# `boxes` (N, 4) [px of the resized image, edges], `scores` (N,), `labels` (N,) int64, 1 for the
# first class as in torchvision, and `masks` (N, 1, h, w) of detectors that have them.
Found = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Frame:
    """What the network makes of the size of an image; (height, width) each.

    Attributes:
        image: before [px].
        resized: as the network sees it [px].
        padded: with zeros at the right and at the bottom, see `Detector.divisor` [px].
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]

    def resize(self, target: Target) -> dict[str, torch.Tensor]:
        """Return a target as it is for the resized image."""
        boxes = resize_boxes(target['boxes'], list(self.image), list(self.resized))
        resized = {**target, 'boxes': boxes}
        if 'masks' in target:
            masks = target['masks'][:, None].float()
            resized['masks'] = nn.functional.interpolate(masks, size=self.resized)[:, 0].byte()
        return resized


class _Transform(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision is not typed
    """Torchvision's preprocessing without its random choice of one of several sizes.

    A training step then draws the same random numbers from images and from cached features.
    """

    def torch_choice(self, sizes: Sequence[int]) -> int:
        """Return the only size."""
        return sizes[0]


class Detector(nn.Module, ABC):
    """A detector on a pre-trained extractor.

    Args:
        config: the network.
        classes: class names; label i is classes[i].
        extractor: makes its feature maps.

    Attributes:
        stages: the extractor's stages, for the freeze dial.
        weights_source: where the extractor's weights came from.
        own_code: of the user's that built the extractor, or None.
        transform: normalises, resizes and pads images.
        divisor: sides are padded to multiples of it [px].
    """

    config: NetworkConfig
    # So that the maps of a pyramid fit on one another.
    divisor: int = 32

    def __init__(
        self, config: NetworkConfig, classes: Sequence[str], extractor: Extractor
    ) -> None:
        super().__init__()
        self.config = config
        self.classes = tuple(classes)
        self.stages = extractor.stages
        self.weights_source = extractor.source
        self.own_code = extractor.own_code
        self.transform = _Transform(
            config.min_side,
            config.max_side,
            list(config.pixel_mean or extractor.mean),
            list(config.pixel_std or extractor.std),
            size_divisible=self.divisor,
            fixed_size=config.fixed_size,
        )

    @property
    @abstractmethod
    def first_stage(self) -> Stage:
        """What the extractor does with the whole image."""

    @property
    def has_masks(self) -> bool:
        """Whether detections come with masks."""
        return self.config.has_masks

    @abstractmethod
    def _losses(
        self, batch: ImageList, first: Sequence[torch.Tensor], targets: Sequence[Target]
    ) -> dict[str, torch.Tensor]:
        """Return the named losses of resized images, given the maps of the first stage."""

    @abstractmethod
    def _find(self, batch: ImageList, first: Sequence[torch.Tensor]) -> list[Found]:
        """Return what is found in resized images, given the maps of the first stage."""

    def forward(
        self, images: Sequence[torch.Tensor], targets: Sequence[Target]
    ) -> dict[str, torch.Tensor]:
        """Return the named losses of a batch; the detector must be in training mode.

        Args:
            images: (3, H, W) float in [0, 1], RGB; sizes may differ.
            targets: of the images.
        """
        batch, resized = self.transform(list(images), [dict(t) for t in targets])
        return self._losses(batch, self._restyled(self.first_stage(batch.tensors)), resized)

    @torch.no_grad()
    def features(self, image: torch.Tensor) -> tuple[list[torch.Tensor], Frame]:
        """Return the (1, C_i, H_i, W_i) maps of the first stage, in inference mode or frozen.

        Args:
            image: (3, H, W) float in [0, 1], RGB.
        """
        batch, _ = self.transform([image])
        height, width = batch.tensors.shape[-2:]
        frame = Frame((image.shape[1], image.shape[2]), batch.image_sizes[0], (height, width))
        return self.first_stage(batch.tensors), frame

    def losses_of(
        self, maps: Sequence[torch.Tensor], frame: Frame, targets: Sequence[Target]
    ) -> dict[str, torch.Tensor]:
        """Return the named losses of a batch whose feature maps are cached; see `forward`.

        Args:
            maps: (B, C_i, H_i, W_i) of the first stage; see `features`.
            frame: size of all images.
            targets: of the images.
        """
        # Only the size of the batch is read: one zero, expanded, serves as all of its pixels.
        blank = maps[0].new_zeros(()).expand(len(targets), 3, *frame.padded)
        batch = ImageList(blank, [frame.resized] * len(targets))
        return self._losses(batch, self._restyled(maps), [frame.resize(t) for t in targets])

    def _restyled(self, maps: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Return maps with other channel statistics where `style_noise` asks for them."""
        noise = self.config.style_noise
        return [perturb_style(m, noise) for m in maps] if noise and self.training else maps

    @torch.inference_mode()
    def detect(self, images: Sequence[torch.Tensor]) -> list[Detections]:
        """Return what is found in each image; the detector must be in inference mode.

        Args:
            images: (3, H, W) float in [0, 1], RGB; sizes may differ.
        """
        batch, _ = self.transform(list(images))
        found = self._find(batch, self.first_stage(batch.tensors))
        sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in images]
        return [
            _detections(f) for f in self.transform.postprocess(found, batch.image_sizes, sizes)
        ]


def perturb_style(maps: torch.Tensor, noise: float) -> torch.Tensor:
    """Scale the mean and the contrast of each channel of each image by random factors.

    a (x - mean) + b mean with a and b of N(1, noise): normalization perturbation (Fan et al. 2023,
    "Towards Robust Object Detection Invariant to Real-World Domain Shifts", sec. 3.2), there in
    the first layers of the extractor, here behind what is frozen.

    Args:
        maps: (B, C, H, W) of the first stage.
        noise: standard deviation of the factors.
    """
    mean = maps.mean(dim=(2, 3), keepdim=True)
    contrast, level = 1 + noise * torch.randn((2, *mean.shape), device=maps.device)
    return maps * contrast.to(maps.dtype) + mean * (level - contrast).to(maps.dtype)


def _detections(found: Found) -> Detections:
    """Turn torchvision's output, labels from 1, into ours."""
    masks = found.get('masks')
    return Detections(
        labels=found['labels'].cpu().numpy().astype(np.int64) - 1,
        scores=found['scores'].cpu().numpy().astype(np.float64),
        boxes=found['boxes'].cpu().numpy().astype(np.float64),
        masks=None if masks is None else (masks[:, 0] >= 0.5).cpu().numpy(),
    )


def to_tensor(image: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Turn an image into the detector's input: THE preprocessing of training, evaluation and node.

    Resizing and normalisation follow inside the detector, with the values of its bundle.

    Args:
        image: (H, W, 3) uint8 RGB.
        device: where the tensor goes.

    Returns:
        (3, H, W) float32 in [0, 1].
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    return tensor.permute(2, 0, 1).float().div_(255)
