"""Detectors: losses to train, detections to run, empty cases included."""

import numpy as np
import pytest
import torch
from networks import target
from tiny import CLASSES, HEIGHT, WIDTH, detector_config

from synth_detect_ros.detectors.detector import to_tensor
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.structures import Detections


def build(**values):
    torch.manual_seed(0)
    return RCNN(detector_config(**values), CLASSES)


def test_single_map_has_the_anchors_of_the_toolchain():
    detector = build(neck='c4', rpn={'anchor_scale': 16, 'anchor_octaves': (0.25, 0.5, 1, 2)})
    anchors = detector.rpn.anchor_generator
    assert anchors.num_anchors_per_location() == [12]
    width, height = (anchors.cell_anchors[0][:, 2:] - anchors.cell_anchors[0][:, :2]).T
    sides = {round(float(s) / 16) * 16 for s in (width * height).sqrt()}
    assert sides == {64, 128, 256, 512}


@pytest.mark.parametrize('neck', ['fpn', 'c4'])
@pytest.mark.parametrize('architecture', ['faster_rcnn', 'mask_rcnn'])
@pytest.mark.parametrize('counts', [(0, 0), (1, 0), (2, 1)])
def test_losses_are_finite_and_train_every_head(architecture, neck, counts):
    detector = build(architecture=architecture, neck=neck).train()
    images = [torch.rand(3, HEIGHT, WIDTH) for _ in counts]
    losses = detector(images, [target(n) for n in counts])
    assert all(torch.isfinite(v) for v in losses.values())
    assert ('loss_mask' in losses) == (architecture == 'mask_rcnn')
    sum(losses.values()).backward()
    assert detector.rpn.head.cls_logits.weight.grad is not None


def test_detections_are_sorted_and_lie_in_the_image():
    found = build(score_threshold=0.0).eval().detect([torch.rand(3, HEIGHT, WIDTH)])[0]
    assert len(found) > 0
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2] <= WIDTH).all()
    assert (found.boxes[:, 3] <= HEIGHT).all()
    assert set(found.labels) <= {0, 1}


def test_masks_have_the_size_of_the_image():
    detector = build(architecture='mask_rcnn', score_threshold=0.0, min_side=64).eval()
    found = detector.detect([torch.rand(3, 50, 90)])[0]
    assert detector.has_masks
    assert found.masks.shape == (len(found), 50, 90)
    assert found.masks.dtype == bool


def test_boxes_of_any_shape_come_back_through_a_fixed_size():
    detector = build(fixed_size=(64, 128), architecture='mask_rcnn', score_threshold=0.0).eval()
    found = detector.detect([torch.rand(3, 50, 90)])[0]
    assert found.masks.shape[1:] == (50, 90)
    assert found.boxes[:, 2].max() > 64 and found.boxes[:, 3].max() <= 50
    for shape in ((50, 90), (90, 50)):
        assert detector.features(torch.rand(3, *shape))[1].padded == (128, 64)


def test_fixed_size_has_two_sides():
    with pytest.raises(ConfigError, match=r'wanted \[width, height\], got \[300\]'):
        build(fixed_size=[300])


def test_nothing_found_is_legal():
    detector = build(architecture='mask_rcnn', score_threshold=1.0).eval()
    found = detector.detect([torch.zeros(3, HEIGHT, WIDTH)])[0]
    assert len(found) == 0
    assert found.masks.shape == (0, HEIGHT, WIDTH)
    assert isinstance(found, Detections)


def test_images_of_a_batch_do_not_influence_each_other():
    detector = build(score_threshold=0.0).eval()
    a, b = torch.rand(3, HEIGHT, WIDTH), torch.rand(3, HEIGHT, WIDTH)
    together, alone = detector.detect([a, b])[0], detector.detect([a])[0]
    np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)


def test_tensor_of_image_keeps_values_and_order():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    tensor = to_tensor(image, torch.device('cpu'))
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy() * 255, image, atol=1e-4)


def test_pixel_mean_and_std_override_the_extractor():
    detector = build(pixel_mean=[0.5, 0.5, 0.5], pixel_std=[0.5, 0.5, 0.5])
    batch, _ = detector.transform([torch.ones(3, HEIGHT, WIDTH)])
    assert torch.allclose(batch.tensors[0, :, :HEIGHT, :WIDTH], torch.ones(()))
