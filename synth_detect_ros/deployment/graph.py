"""A detector of one stage from the camera's pixels to detections, as one graph for one size.

    pixels -> resize, normalise, pad -> network -> candidates, suppression -> boxes, masks

Preprocessing is that of `inference.preprocessing`, in torch; network and detections are those of
the live node.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from synth_detect_ros.detectors.one_stage import OneStage, Size
from synth_detect_ros.inference.one_stage import OneStageDense
from synth_detect_ros.inference.preprocessing import preprocessing_of


class DetectionGraph(nn.Module):
    """What is exported; it can be traced.

    Args:
        detector: in inference mode, on the CPU.
        size: (height, width) of the images [px].
        score_threshold: detections below are dropped, as those below the detector's own are.

    Attributes:
        names: of the outputs.
    """

    mean: torch.Tensor
    std: torch.Tensor
    ratios: torch.Tensor

    def __init__(self, detector: OneStage, size: Size, score_threshold: float) -> None:
        super().__init__()
        self.network = OneStageDense(detector)
        self._detector, self._size, self._threshold = detector, size, score_threshold
        preprocessing = preprocessing_of(detector)
        self._resized = preprocessing.size(*size)
        self._padding = preprocessing.padding(*self._resized)
        transform = detector.transform
        for name, values in (('mean', transform.image_mean), ('std', transform.image_std)):
            self.register_buffer(name, torch.tensor(values).float()[:, None, None])
        ratios = torch.tensor(size).float() / torch.tensor(self._resized).float()
        self.register_buffer('ratios', ratios.flip(0).repeat(2))
        masks = ('masks',) if detector.has_masks else ()
        self.names = ('boxes', 'scores', 'labels', *masks)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what is found in an image.

        Args:
            image: (1, H, W, 3) uint8 RGB.

        Returns:
            (N, 4) boxes, xyxy edges [px of the image], (N,) scores, (N,) int64 labels from 0, and
            of a detector with masks (N, h, w) probabilities over each box; the best one first.
        """
        x = self._prepared(image)
        padded = (int(x.shape[-2]), int(x.shape[-1]))
        found = self._detector.choose(
            self.network(x), padded, self._resized, self._threshold, masks=True
        )
        outputs = (found['boxes'] * self.ratios, found['scores'], found['labels'] - 1)
        return (*outputs, found['masks'][:, 0]) if 'masks' in found else outputs

    def _prepared(self, image: torch.Tensor) -> torch.Tensor:
        """Return the (1, 3, H', W') input of the network."""
        # To float first: TensorRT has uint8 for the input alone.
        x = (image.float().permute(0, 3, 1, 2) / 255 - self.mean) / self.std
        if self._resized != self._size:
            x = functional.interpolate(x, size=self._resized, mode='bilinear', align_corners=False)
        down, right = self._padding
        return functional.pad(x, (0, right, 0, down)) if down or right else x
