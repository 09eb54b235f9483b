"""The dense detector: one look, no anchors, masks on request.

Boxes and losses are those of Li et al. 2020 ("Generalized Focal Loss"), cells learn what Feng et
al. 2021 ("TOOD") align, masks are sums of prototypes (Bolya et al. 2019, "YOLACT").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchvision.models.detection.image_list import ImageList

from synth_detect_ros.config import DenseConfig
from synth_detect_ros.detectors.dense.assignment import NONE, Assignment, assign
from synth_detect_ros.detectors.dense.box_voting import vote_boxes
from synth_detect_ros.detectors.dense.cells import best_scores, cell_centres, decode, distances
from synth_detect_ros.detectors.dense.focal_losses import (
    box_loss,
    distribution_focal_loss,
    quality_focal_loss,
)
from synth_detect_ros.detectors.dense.layers import DenseHead, PathAggregation, flatten
from synth_detect_ros.detectors.dense.prototype_masks import crop_masks, mask_loss
from synth_detect_ros.detectors.detector import Target
from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.extractors.own_code import OwnCode
from synth_detect_ros.detectors.one_stage import Candidates, OneStage, Size


class Dense(OneStage):
    """A detector that predicts classes, box and mask in every cell of a pyramid.

    Attributes:
        neck: makes the maps.
        head: predicts on them.
        strides: of the maps [px].
    """

    config: DenseConfig

    def __init__(
        self,
        config: DenseConfig,
        classes: Sequence[str],
        *,
        load_weights: bool = True,
        own_code: OwnCode | None = None,
    ) -> None:
        extractor = build_extractor(config, load=load_weights, own_code=own_code)
        super().__init__(config, classes, extractor)
        self.neck = PathAggregation(extractor, config)
        self.strides = extractor.strides
        self.head = DenseHead(config, len(classes), len(self.strides))

    @property
    def first_stage(self) -> Stage:
        """What the extractor does with the whole image."""
        return self.neck.first_stage

    def raw_outputs(self, first: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the outputs of `DenseHead` one after the other."""
        return self.head(self.neck(first))

    def candidates(
        self, raw: Sequence[torch.Tensor], padded: Size, score_threshold: float
    ) -> Candidates:
        """Return the best cells of all classes, whatever the threshold: all of them vote."""
        levels = len(self.strides)
        scores = flatten(raw[:levels])[0].float().sigmoid()
        codes = flatten(raw[levels : 2 * levels])[0]
        values, cells, labels = best_scores(
            scores, self.config.score_threshold, self.config.candidates
        )
        centres, strides = self._cells(raw)
        boxes = decode(codes[cells].float(), centres[cells], strides[cells])
        return Candidates(boxes, values, labels + 1, cells)

    def _final_boxes(
        self, boxes: torch.Tensor, found: Candidates, kept: torch.Tensor
    ) -> torch.Tensor:
        return vote_boxes(boxes, found.scores, found.labels, kept, self.config.vote_iou)

    def _masks(
        self, raw: Sequence[torch.Tensor], places: torch.Tensor, boxes: torch.Tensor
    ) -> torch.Tensor:
        levels = len(self.strides)
        coefficients = flatten(raw[2 * levels : 3 * levels])[0][places]
        return crop_masks(coefficients.float(), raw[-1][0].float(), boxes, self.strides[0])

    def _cells(self, raw: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return centres and strides of the cells of raw outputs, see `cell_centres`."""
        grids = tuple((int(r.shape[1]), int(r.shape[2])) for r in raw[: len(self.strides)])
        return cell_centres(grids, self.strides, raw[0].device)

    def _losses(
        self, batch: ImageList, first: Sequence[torch.Tensor], targets: Sequence[Target]
    ) -> dict[str, torch.Tensor]:
        raw = [r.float() for r in self.raw_outputs(first)]
        levels = len(self.strides)
        logits, codes = flatten(raw[:levels]), flatten(raw[levels : 2 * levels])
        centres, strides = self._cells(raw)
        boxes = decode(codes, centres, strides)
        found = [
            self._assign(*image, centres)
            for image in zip(logits, boxes.detach(), targets, strict=True)
        ]
        quality = torch.stack(
            [
                _of_class(image, target, logits.shape[2])
                for image, target in zip(found, targets, strict=True)
            ]
        )
        total = quality.sum().clamp_min(1)
        losses = {
            'loss_classifier': self.config.class_weight * quality_focal_loss(logits, quality),
            **self._box_losses(codes, boxes, found, targets, centres, strides),
        }
        if self.has_masks:
            coefficients = flatten(raw[2 * levels : 3 * levels])
            losses['loss_mask'] = self._mask_loss(coefficients, raw[-1], found, targets)
        return {name: loss / total for name, loss in losses.items()}

    def _assign(
        self,
        logits: torch.Tensor,
        boxes: torch.Tensor,
        target: Target,
        centres: torch.Tensor,
    ) -> Assignment:
        config = self.config
        return assign(
            logits.detach().sigmoid(), boxes, centres, target['boxes'], target['labels'],
            cells=config.cells, powers=(config.powers[0], config.powers[1]),
            least_side=self.strides[0],
        )  # fmt: skip

    def _box_losses(
        self,
        codes: torch.Tensor,
        boxes: torch.Tensor,
        found: Sequence[Assignment],
        targets: Sequence[Target],
        centres: torch.Tensor,
        strides: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Return the summed losses of the boxes of the cells that have an object."""
        objects = torch.stack([image.objects for image in found])
        weights = torch.stack([image.quality for image in found])[objects != NONE]
        wanted = torch.cat(
            [
                target['boxes'][image.objects[image.objects != NONE]]
                for image, target in zip(found, targets, strict=True)
            ]
        )
        cells = (objects != NONE).nonzero()[:, 1]
        sides = distances(wanted, centres[cells], strides[cells])
        codes, boxes = codes[objects != NONE], boxes[objects != NONE]
        return {
            'loss_box_reg': self.config.box_weight * box_loss(boxes, wanted, weights),
            'loss_distance': self.config.distance_weight
            * distribution_focal_loss(codes, sides, weights),
        }

    def _mask_loss(
        self,
        coefficients: torch.Tensor,
        prototypes: torch.Tensor,
        found: Sequence[Assignment],
        targets: Sequence[Target],
    ) -> torch.Tensor:
        """Return the summed loss of the masks of the cells that have an object."""
        losses = [prototypes.sum() * 0]
        images = zip(coefficients, prototypes, found, targets, strict=True)
        for own, shared, image, target in images:
            cells = torch.nonzero(image.objects != NONE)[:, 0]
            if len(cells):
                each = mask_loss(
                    own[cells], shared, image.objects[cells], target['masks'], target['boxes'],
                    self.strides[0],
                )  # fmt: skip
                losses.append((each * image.quality[cells]).sum())
        return self.config.mask_weight * torch.stack(losses).sum()


def _of_class(image: Assignment, target: Target, classes: int) -> torch.Tensor:
    """Return (C, K) scores that the classes of the cells of an image are to have."""
    wanted = image.quality.new_zeros((len(image.quality), classes))
    positive = torch.nonzero(image.objects != NONE)[:, 0]
    wanted[positive, target['labels'][image.objects[positive]]] = image.quality[positive]
    return wanted
