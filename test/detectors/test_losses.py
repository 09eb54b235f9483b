"""Losses of both stages: torchvision's by default, the paper's toolchain's on request."""

import math

import numpy as np
import pytest
import torch
from networks import target
from tiny import CLASSES, HEIGHT, WIDTH, detector_config
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork

from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.roi_heads import SecondStageHeads
from synth_detect_ros.detectors.rpn import ProposalNetwork

SCALE = (10.0, 10.0, 5.0, 5.0)
TOOLCHAIN = {
    # All of the batch, so that nothing is left to chance.
    'rpn': {'coder': SCALE, 'beta': 1.0, 'batch': 10000},
    'box_head': {'coder': SCALE, 'beta': 1.0, 'batch': 10000},
}


def plain_loss(predicted, box, anchor):
    """Huber loss with delta 1 of one box, its code scaled by 10 10 5 5; in words, not tensors."""
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    code = (
        10 * ((box[0] + box[2]) / 2 - (anchor[0] + anchor[2]) / 2) / width,
        10 * ((box[1] + box[3]) / 2 - (anchor[1] + anchor[3]) / 2) / height,
        5 * math.log((box[2] - box[0]) / width),
        5 * math.log((box[3] - box[1]) / height),
    )
    errors = [abs(p - c) for p, c in zip(predicted, code, strict=True)]
    return sum(e * e / 2 if e <= 1 else e - 0.5 for e in errors)


def random_boxes(count, seed):
    draw = np.random.default_rng(seed)
    corner, size = draw.uniform(0, 60, (count, 2)), draw.uniform(8, 60, (count, 2))
    return torch.from_numpy(np.hstack([corner, corner + size])).float()


def test_toolchain_loss_of_proposals_is_the_plain_one():
    network = ProposalNetwork(detector_config(**TOOLCHAIN), 8, (8, 16))
    anchors, objects = random_boxes(40, 0), random_boxes(40, 1)
    labels = torch.tensor([1.0, 0, 0, -1]).repeat(10)
    deltas = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) * 3
    codes = network.box_coder.encode([objects], [anchors])
    _, found = network.compute_loss(torch.zeros(40, 1), deltas, [labels], list(codes))
    rows = zip(deltas.tolist(), objects.tolist(), anchors.tolist(), labels, strict=True)
    wanted = sum(plain_loss(d, o, a) for d, o, a, label in rows if label == 1) / 30
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_toolchain_loss_of_boxes_is_the_plain_one():
    proposals, box = random_boxes(60, 2), (10.0, 12.0, 50.0, 60.0)
    deltas = torch.randn(61, 3, 4, generator=torch.Generator().manual_seed(0)) * 3
    heads = SecondStageHeads(
        detector_config(**TOOLCHAIN),
        pool=lambda *_: None,
        head=lambda _: None,
        predictor=lambda _: (torch.zeros(61, 3), deltas.flatten(1)),
    ).train()
    objects = {'boxes': torch.tensor([box]), 'labels': torch.tensor([2])}
    _, losses = heads({}, [proposals], [(HEIGHT, WIDTH)], [objects])
    seen = [*proposals.tolist(), list(box)]  # objects are proposals of their own
    positive = [i for i, p in enumerate(seen) if overlap(p, box) >= 0.5]
    assert 2 <= len(positive) < 61
    wanted = sum(plain_loss(deltas[i, 2].tolist(), box, seen[i]) for i in positive) / 61
    assert float(losses['loss_box_reg']) == pytest.approx(wanted, rel=1e-4)


def overlap(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (area - width * height)


def same_chance(call):
    torch.manual_seed(5)
    return call()


def test_losses_are_torchvisions_by_default():
    torch.manual_seed(0)
    detector = RCNN(
        detector_config(architecture='mask_rcnn', box_head={'batch': 16}), CLASSES
    ).train()
    network, heads = detector.rpn, detector.roi_heads
    values = (
        torch.randn(80, 1), torch.randn(80, 4), [torch.arange(80) % 3 - 1.0], [torch.randn(80, 4)],
    )  # fmt: skip
    ours = same_chance(lambda: network.compute_loss(*values))
    theirs = same_chance(lambda: RegionProposalNetwork.compute_loss(network, *values))
    torch.testing.assert_close(ours, theirs)
    maps = detector.neck(detector.first_stage(torch.rand(1, 3, HEIGHT, WIDTH)))
    objects = {**target(2), 'labels': torch.tensor([1, 2])}
    inputs = [random_boxes(30, 3)], [(HEIGHT, WIDTH)], [objects]
    _, ours = same_chance(lambda: heads(maps, *inputs))
    inputs = [random_boxes(30, 3)], [(HEIGHT, WIDTH)], [objects]  # the list was filled
    _, theirs = same_chance(lambda: RoIHeads.forward(heads, maps, *inputs))
    torch.testing.assert_close(ours, theirs)


def test_weights_multiply_the_losses():
    image, objects = torch.rand(3, HEIGHT, WIDTH), target(1)

    def losses(**weights):
        torch.manual_seed(0)
        config = detector_config(architecture='mask_rcnn', **weights)
        return RCNN(config, CLASSES).train()([image], [objects])

    plain = losses()
    found = losses(
        rpn={'objectness_weight': 6.0, 'box_weight': 2.0},
        box_head={'class_weight': 3.0, 'box_weight': 5.0},
        mask_weight=4.0,
    )
    weights = {'objectness': 6, 'rpn_box_reg': 2, 'classifier': 3, 'box_reg': 5, 'mask': 4}
    assert len(found) == len(weights)
    for name, weight in weights.items():
        torch.testing.assert_close(found[f'loss_{name}'], weight * plain[f'loss_{name}'])
