"""SSD: losses against plain loops, every extractor, and a run from images to a live predictor."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import (
    CLASSES,
    HEIGHT,
    TINY_SSD,
    WIDTH,
    detector_config,
    train_config,
    write_bundle,
    write_dataset,
    write_weights,
)  # fmt: skip

from synth_detect_ros.bundle import load_bundle, save_bundle
from synth_detect_ros.config import EvaluateConfig, SSDConfig
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.detectors.default_boxes import NONE, match
from synth_detect_ros.detectors.detector import to_tensor
from synth_detect_ros.detectors.extractors.freezing import apply_freeze
from synth_detect_ros.detectors.ssd import multibox_loss
from synth_detect_ros.detectors.ssd_layers import extra_widths, flatten
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.evaluation.evaluate import evaluate
from synth_detect_ros.inference.predictor import Predictor
from synth_detect_ros.training.train import train

OWN = """
from torch import nn

class Net(nn.Sequential):
    out_channels, stride = {channels}, {stride}

    def __init__(self):
        super().__init__(nn.Conv2d(3, 12, 16, 16))
"""


def build(**values):
    torch.manual_seed(0)
    return build_detector(detector_config(**{**TINY_SSD, **values}), CLASSES)


def own(folder, channels=12, stride=16):
    (folder / 'own_net.py').write_text(OWN.format(channels=channels, stride=stride))
    return f'{folder}/own_net.py:Net'


def targets(*counts):
    boxes = torch.tensor([[20.0, 20, 70, 80], [60, 10, 100, 40]])
    return [{'boxes': boxes[:n], 'labels': torch.arange(n)} for n in counts]


def images(count):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, HEIGHT, WIDTH, generator=generator) for _ in range(count)]


@pytest.mark.parametrize('counts', [(0, 0), (2, 0), (2, 1)])
@pytest.mark.parametrize('name', ['mobilenet_v2', 'resnet18', 'timm:resnet18', 'own'])
def test_losses_are_finite_and_train_what_is_behind_the_extractor(tmp_path, name, counts):
    if name.startswith('timm'):
        pytest.importorskip('timm')
    detector = build(extractor=own(tmp_path) if name == 'own' else name).train()
    losses = detector(images(2), targets(*counts))
    assert set(losses) == {'loss_classifier', 'loss_box_reg'}
    assert all(torch.isfinite(v) for v in losses.values())
    assert losses['loss_classifier'] > 0  # backgrounds alone teach too
    assert (losses['loss_box_reg'] > 0) == (sum(counts) > 0)
    sum(losses.values()).backward()
    assert not detector.has_masks
    for part in (detector.neck.extra, detector.head):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


def test_bfloat16_gives_numbers_on_maps_of_one_cell():
    detector = build().train()
    for _ in range(10):
        rubbish = [torch.full((2**n,), math.nan) for n in range(6, 19)]
        del rubbish  # what is not written to holds it then
        detector.zero_grad()
        with torch.autocast('cpu', torch.bfloat16):
            losses = detector(images(2), targets(1, 1))
        sum(losses.values()).backward()
        assert all(p.grad.isfinite().all() for p in detector.parameters())


def slow_losses(logits, codes, boxes, objects, labels, negatives, least):
    """Return the loss of the classes and of the boxes of one image before division."""
    background = [float(row.logsumexp(0) - row[0]) for row in logits]
    matches = match(objects, boxes, 0.5).tolist()
    of_class = of_box = 0.0
    for d, n in enumerate(matches):
        if n == NONE:
            continue
        of_class += float(logits[d].logsumexp(0) - logits[d][1 + labels[n]])
        (ax, ay, bx, by), (cx, cy, dx, dy) = boxes[d].tolist(), objects[n].tolist()
        w, h = bx - ax, by - ay
        wanted = [
            10 * ((cx + dx) / 2 - (ax + bx) / 2) / w,
            10 * ((cy + dy) / 2 - (ay + by) / 2) / h,
            5 * math.log((dx - cx) / w),
            5 * math.log((dy - cy) / h),
        ]
        for code, number in zip(codes[d].tolist(), wanted, strict=True):
            error = abs(code - number)
            of_box += error**2 / 2 if error < 1 else error - 0.5
    free = sorted((background[d] for d, n in enumerate(matches) if n == NONE), reverse=True)
    positive = sum(n != NONE for n in matches)
    return of_class + sum(free[: max(int(negatives * positive), least)]), of_box, positive


@pytest.mark.parametrize('counts', [(2, 1, 0), (0, 0, 0)])
def test_losses_are_those_of_plain_loops(counts):
    detector = build(beta=1.0, fixed_size=(WIDTH, HEIGHT)).train()
    for parameter in detector.head.parameters():  # not near zero, or all negatives tie
        torch.nn.init.normal_(parameter, std=0.3)
    batch, wanted = images(len(counts)), targets(*counts)
    maps = detector.neck(detector.first_stage(detector.transform(batch)[0].tensors))
    logits, codes = detector.head(maps)
    boxes = detector.boxes(logits, (HEIGHT, WIDTH))
    logits, codes = flatten(logits, 3).detach(), flatten(codes, 4).detach()
    parts = [
        slow_losses(logits[i], codes[i], boxes, t['boxes'], t['labels'].tolist(), 3, 3)
        for i, t in enumerate(wanted)
    ]
    of_class, of_box, positive = (sum(column) for column in zip(*parts, strict=True))
    labels, offsets = detector._assign(boxes, wanted)
    losses = multibox_loss(logits, codes, labels, offsets, detector.config)
    assert float(losses['loss_classifier']) == pytest.approx(of_class / max(positive, 1), rel=1e-4)
    assert float(losses['loss_box_reg']) == pytest.approx(of_box / max(positive, 1), rel=1e-4)


def test_weights_of_the_losses_are_those_of_the_options():
    plain, heavy = (
        build(**weights).train()(images(1), targets(1))
        for weights in ({}, {'class_weight': 2, 'box_weight': 3})
    )
    for name, weight in (('loss_classifier', 2), ('loss_box_reg', 3)):
        assert heavy[name].item() == pytest.approx(weight * plain[name].item(), rel=1e-4)


@torch.no_grad()
def test_predictions_stand_in_the_order_of_the_boxes():
    detector = build(convs=0, kernel=1, maps=3).eval()
    maps = [torch.zeros(1, c, 4 - k, 5 - k) for k, c in enumerate(detector.neck.channels)]
    maps[1][0, :, 2, 1] = 1.0
    for layer in detector.head.logits:
        torch.nn.init.zeros_(layer.weight)
    # Box 4 of a cell, class 2.
    detector.head.logits[1].weight[4 * 3 + 2] = 1.0
    logits, _ = detector.head(maps)
    hot = flatten(logits, 3)[0, :, 2].argmax()
    boxes = detector.boxes(logits, (40, 50))
    x1, y1, x2, y2 = boxes[hot].tolist()
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((1.5 / 4 * 50, 2.5 / 3 * 40))
    assert (x2 - x1) / (y2 - y1) == pytest.approx(1 / 3)


def test_detections_lie_in_the_image_best_first():
    found = build(score_threshold=0.0).eval().detect([torch.rand(3, 50, 90)])[0]
    assert len(found) == 100
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, :2] >= 0).all() and (found.boxes[:, 2:] <= [90, 50]).all()
    assert set(found.labels) <= {0, 1}


def test_images_of_a_batch_do_not_influence_each_other():
    detector = build(score_threshold=0.0).eval()
    a, b = images(2)
    together, alone = detector.detect([a, b])[0], detector.detect([a])[0]
    np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)


def test_code_of_zero_is_the_default_box_itself():
    detector = build(score_threshold=0.5, nms_iou=1.0).eval()
    raw = [torch.zeros_like(r) for r in detector.raw_outputs(detector.features(images(1)[0])[0])]
    raw[1][0, 1, 2, 2 * 3 + 1] = 9.0  # class 1 of box 2
    raw[1][0, 0, 0, 3 * 3 + 2] = 8.0  # class 2 of box 3
    found = detector.choose(raw, (HEIGHT, WIDTH), (HEIGHT - 30, WIDTH), 0.0, masks=False)
    boxes = detector.boxes(raw[: len(raw) // 2], (HEIGHT, WIDTH))
    first, columns = raw[0].shape[1] * raw[0].shape[2] * 3, raw[1].shape[2]
    wanted = boxes[[first + (columns + 2) * 6 + 2, first + 3]].clamp(min=0)
    wanted = wanted.minimum(torch.tensor([WIDTH, HEIGHT - 30, WIDTH, HEIGHT - 30.0]))
    assert found['labels'].tolist() == [1, 2]
    torch.testing.assert_close(found['boxes'], wanted)


def test_frozen_extractor_stays_and_the_rest_trains(tmp_path):
    weights = write_weights(tmp_path / 'w.safetensors')
    detector = build(weights=str(weights))
    report = apply_freeze(detector, detector.stages, 'first_stage')
    before = {k: v.clone() for k, v in detector.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=0.1)
    sum(detector.train()(images(2), targets(1, 1)).values()).backward()
    optimizer.step()
    changed = {k for k, v in detector.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert not any(key.startswith('neck.first_stage') for key in changed)
    assert report.frozen['first_stage'] > 2_000_000  # both of its maps, all 18 blocks


def test_adapters_train_beside_the_frozen_extractor(tmp_path):
    weights = write_weights(tmp_path / 'w.safetensors')
    detector = build(weights=str(weights), adapters=True)
    apply_freeze(detector, detector.stages, 'first_stage')
    sum(detector.train()(images(2), targets(1, 1)).values()).backward()
    trained = {n for n, p in detector.first_stage.named_parameters() if p.grad is not None}
    assert trained and all('adapter' in name for name in trained)


def test_extra_maps_have_the_widths_of_the_options():
    options = SSDConfig(maps=6, extra_channels=(64, 32))
    assert extra_widths(options, 2) == [64, 64, 64, 32]
    assert extra_widths(options, 1) == [64, 64, 64, 64, 32]
    assert extra_widths(SSDConfig(maps=3), 2) == [128]


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'architecture': 'ssd', 'neck': 'c4'}, "neck: 'c4' is not known. Choose one of extra"),
        ({'neck': 'extra'}, "neck: 'extra' is not known. Choose one of fpn, c4"),
        ({**TINY_SSD, 'kernel': 2}, r'has no centre\. Choose 1 or 3'),
        ({**TINY_SSD, 'extra_channels': []}, 'give one number at least'),
    ],
)
def test_contradictions_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        detector_config(**values)


def test_extractor_without_a_map_of_stride_16_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'strides \[8\].*extra needs one of 16'):
        build(extractor=own(tmp_path, stride=8))


def test_bundle_finds_the_same_again(tmp_path):
    detector, _ = load_bundle(write_bundle(tmp_path / 'a', **TINY_SSD, fixed_size=[80, 64]))
    again, info = load_bundle(save_bundle(tmp_path / 'b', detector, {}))
    assert info['preprocessing']['fixed_size'] == [80, 64]
    a, b = (d.detect(images(1))[0] for d in (detector, again))
    assert len(a)
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)


def test_proposals_are_refused(tmp_path):
    bundle = write_bundle(tmp_path / 'bundle', **TINY_SSD)
    with pytest.raises(ConfigError, match=r'proposals: 5 .*has one stage.*Set proposals: 0'):
        Predictor(bundle, 'cpu', proposals=5)
    Predictor(bundle, 'cpu').keep_proposals(0)


def test_run_on_few_images_learns_them(tmp_path):
    dataset = write_dataset(tmp_path / 'set')
    still = dict(flip=False, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    config = train_config(
        dataset, tmp_path / 'run', steps=250, batch=4, val_share=0.0, log_every=50,
        optimizer={'lr': 0.02, 'warmup_steps': 10}, augment=still,
        detector={**TINY_SSD, 'beta': 1.0},
    )  # fmt: skip
    bundle = train(config)
    metrics = evaluate(
        EvaluateConfig(
            model=str(bundle), images=str(dataset / 'images'), device='cpu', runtime='torch',
            annotations=str(dataset / 'annotations.json'), json=str(tmp_path / 'metrics.json'),
        )
    )  # fmt: skip
    assert metrics['bbox']['AP50'] >= 0.9
    detector, _ = load_bundle(bundle)
    noise = np.random.default_rng(0).integers(0, 255, (10, HEIGHT, WIDTH, 3), np.uint8)
    found = detector.detect([to_tensor(image, torch.device('cpu')) for image in noise])
    assert np.mean([f.scores.max(initial=0) for f in found]) < 0.5  # noise alone holds nothing
    assert load_file(bundle / 'weights.safetensors').keys() == detector.state_dict().keys()
