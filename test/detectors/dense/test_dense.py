"""The dense detector: its choice is that of plain loops, its losses follow its options."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from tiny import CLASSES, HEIGHT, OWN_EXTRACTOR, WIDTH, detector_config
from torch import nn

from synth_detect_ros.config import DenseConfig, DetectorConfig
from synth_detect_ros.config.options import build as build_config
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.geometry.boxes import iou


def build(**values):
    torch.manual_seed(0)
    return build_detector(detector_config(architecture='dense', **values), CLASSES)


def images(count):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, HEIGHT, WIDTH, generator=generator) for _ in range(count)]


def targets(*counts):
    """Return targets with this many objects; masks fill half of their boxes."""
    rng = np.random.default_rng(0)
    found = []
    for count in counts:
        start = rng.integers(0, 40, (count, 2))
        boxes = np.concatenate([start, start + rng.integers(12, 50, (count, 2))], 1)
        masks = np.zeros((count, HEIGHT, WIDTH), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[y1:y2, x1 : (x1 + x2) // 2] = 1
        found.append(
            {
                'boxes': torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                'labels': torch.tensor(rng.integers(0, 2, count)),
                'masks': torch.from_numpy(masks),
            }
        )
    return found


def slow_choice(detector, raw, size, threshold):
    """Return (score, label, box) of what is found, by loops over cells and over found boxes."""
    levels, config = len(detector.strides), detector.config
    found = []
    for logits, codes, stride in zip(
        raw[:levels], raw[levels : 2 * levels], detector.strides, strict=True
    ):
        for y in range(logits.shape[1]):
            for x in range(logits.shape[2]):
                shares = codes[0, y, x].reshape(4, config.bins + 1).softmax(1).tolist()
                sides = [stride * sum(k * s for k, s in enumerate(row)) for row in shares]
                middle = ((x + 0.5) * stride, (y + 0.5) * stride)
                box = [
                    min(max(middle[0] - sides[0], 0), size[1]),
                    min(max(middle[1] - sides[1], 0), size[0]),
                    min(max(middle[0] + sides[2], 0), size[1]),
                    min(max(middle[1] + sides[3], 0), size[0]),
                ]
                for label, logit in enumerate(logits[0, y, x].tolist()):
                    score = 1 / (1 + math.exp(-logit))
                    if score >= config.score_threshold:
                        found.append((score, label, box))
    kept, best = [], sorted(found, key=lambda f: -f[0])[: config.candidates]
    for score, label, box in best:
        rivals = [b for _, other, b in kept if other == label]
        if not rivals or iou([box], rivals).max() <= config.nms_iou:
            kept.append((score, label, box))
    voted = []
    for score, label, box in kept[: config.max_detections]:
        voters = [
            (s, b) for s, other, b in best
            if other == label and iou([box], [b]).max() >= config.vote_iou
        ]  # fmt: skip
        mean = sum(s * np.array(b) for s, b in voters) / sum(s for s, _ in voters)
        if score >= threshold:
            voted.append((score, label, mean))
    return voted


@pytest.mark.parametrize('options', [{}, {'candidates': 20}, {'nms_iou': 0.2, 'bins': 4}])
@torch.no_grad()
def test_choice_is_that_of_plain_loops(options):
    detector = build(score_threshold=0.3, **options).eval()
    maps, frame = detector.features(images(1)[0])
    generator = torch.Generator().manual_seed(1)
    raw = [torch.randn(r.shape, generator=generator) * 2 for r in detector.raw_outputs(maps)]
    found = detector.choose(raw, frame.padded, frame.resized, 0.4, masks=False)
    wanted = slow_choice(detector, raw, frame.resized, 0.4)
    assert len(found['scores']) == len(wanted) >= 5
    scores, labels, boxes = zip(*wanted, strict=True)
    assert found['labels'].tolist() == [label + 1 for label in labels]
    np.testing.assert_allclose(found['scores'], scores, atol=1e-5)
    np.testing.assert_allclose(found['boxes'], boxes, atol=1e-3)


@pytest.mark.parametrize('counts', [(2, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize('masks', [False, True])
def test_losses_are_numbers_and_reach_every_layer(counts, masks):
    detector = build(masks=masks).train()
    losses = detector(images(2), targets(*counts))
    assert set(losses) == {
        'loss_classifier', 'loss_box_reg', 'loss_distance', *(['loss_mask'] if masks else []),
    }  # fmt: skip
    assert detector.has_masks == masks
    for name, loss in losses.items():
        assert torch.isfinite(loss)
        assert (loss > 0) == (sum(counts) > 0 or name == 'loss_classifier')
    sum(losses.values()).backward()
    if sum(counts):
        grads = {n: p.grad for n, p in detector.named_parameters() if 'first_stage' not in n}
        assert all(g is not None and g.isfinite().all() for g in grads.values())
        # Boxes are learnt on the maps of their size: the normalisation of another map may rest.
        layers = {n: re.sub(r'(box_tower.norms.\d+).\d+', r'\1', n) for n in grads}
        assert {layers[n] for n, g in grads.items() if g.any()} == set(layers.values())


@pytest.mark.parametrize(
    ('weight', 'loss'),
    [
        ('class_weight', 'loss_classifier'),
        ('box_weight', 'loss_box_reg'),
        ('distance_weight', 'loss_distance'),
        ('mask_weight', 'loss_mask'),
    ],
)
def test_weights_of_the_losses_are_those_of_the_options(weight, loss):
    default = getattr(DenseConfig(), weight)
    plain, heavy = (
        build(masks=True, **{weight: value}).train()(images(1), targets(2))
        for value in (default, 3 * default)
    )
    assert heavy[loss].item() == pytest.approx(3 * plain[loss].item(), rel=1e-4)


def test_first_boxes_have_four_strides_a_side():
    detector = build(bins=32).eval()
    with torch.no_grad():
        detector.head.codes.weight.zero_()
        maps, frame = detector.features(images(1)[0])
        raw = list(detector.raw_outputs(maps))
    for level in range(len(detector.strides)):
        hot = [torch.full_like(r, -9.0) for r in raw[: len(detector.strides)]]
        hot[level][0, 1, 1, 0] = 9.0
        found = detector.choose(
            [*hot, *raw[len(hot) :]], frame.padded, (999, 999), 0.5, masks=False
        )
        stride = detector.strides[level]
        x1, y1, x2, y2 = found['boxes'][0].tolist()
        assert x2 - max(x1, 0) == pytest.approx(min(4, 3.5) * stride, rel=0.02)
        assert y2 - max(y1, 0) == pytest.approx(min(4, 3.5) * stride, rel=0.02)


def test_detections_lie_in_the_image_best_first():
    detector = build(score_threshold=0.0, masks=True).eval()
    found = detector.detect([torch.rand(3, 50, 90)])[0]
    assert len(found) == 100
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, :2] >= 0).all() and (found.boxes[:, 2:] <= [90, 50]).all()
    assert found.masks.shape == (100, 50, 90)
    for mask, (x1, y1, x2, y2) in zip(found.masks, found.boxes, strict=True):
        outside = mask.copy()
        # Pasting widens a box by a cell of its mask at most, and to whole pixels.
        rows, columns = (
            slice(max(int(a) - 3, 0), math.ceil(b) + 4) for a, b in ((y1, y2), (x1, x2))
        )
        outside[rows, columns] = False
        assert not outside.any()


def test_images_of_a_batch_do_not_influence_each_other():
    detector = build(score_threshold=0.0, masks=True).eval()
    a, b = images(2)
    together, alone = detector.detect([a, b])[0], detector.detect([a])[0]
    np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)
    assert (together.masks == alone.masks).mean() > 0.999


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'kernel': 4}, 'kernel: 4 has no centre. Choose 3, 5 or 7'),
        ({'powers': [1.0]}, r'powers: wanted \[of score, of overlap\]'),
        ({'neck': 'fpn'}, 'neck'),
        ({'box_head': {'convs': 1}}, 'box_head'),
    ],
)
def test_options_that_mean_nothing_here_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build_config(DetectorConfig, {'architecture': 'dense', **options})


def test_single_map_cannot_feed_the_pyramid(tmp_path):
    (tmp_path / 'own.py').write_text(OWN_EXTRACTOR)
    with pytest.raises(ConfigError, match='a pyramid needs two maps of 8 or more'):
        build(extractor=f'{tmp_path}/own.py:make')


def test_each_map_is_normalised_by_itself():
    """Convolutions are one for all maps, what their outputs are scaled by is not."""
    detector = build(norm='batch').train()
    detector(images(2), targets(2, 1))
    means = [norm.running_mean for norm in detector.head.score_tower.norms[0]]
    assert len(means) == len(detector.strides)
    assert not any(torch.allclose(a, b, rtol=1e-2) for a, b in itertools.combinations(means, 2))


@pytest.mark.parametrize('norm', ['batch', 'group', 'none'])
def test_normalisation_is_that_of_the_option(norm):
    detector = build(norm=norm).train()
    sum(detector(images(2), targets(2, 1)).values()).backward()
    kinds = {type(m) for part in (detector.head, detector.neck.down) for m in part.modules()}
    assert (nn.GroupNorm in kinds, nn.BatchNorm2d in kinds) == (norm == 'group', norm == 'batch')


def test_batch_norm_is_not_for_maps_of_one_cell():
    with pytest.raises(ConfigError, match=r"norm: 'batch' is not known\. Choose one of group"):
        build_config(DetectorConfig, {'architecture': 'ssd', 'norm': 'batch'}, 'detector')


@torch.no_grad()
def test_boxes_do_not_depend_on_the_score_that_is_asked_for():
    detector = build(score_threshold=0.3).eval()
    maps, frame = detector.features(images(1)[0])
    generator = torch.Generator().manual_seed(1)
    raw = [torch.randn(r.shape, generator=generator) * 2 for r in detector.raw_outputs(maps)]
    many, few = (
        detector.choose(raw, frame.padded, frame.resized, least, masks=False)
        for least in (0.3, 0.9)
    )
    kept = many['scores'] >= 0.9
    assert 0 < kept.sum() < len(kept)
    torch.testing.assert_close(few['boxes'], many['boxes'][kept])
