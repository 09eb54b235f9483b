"""R-FCN: pooling against plain loops, the hole algorithm, every extractor."""

import math

import numpy as np
import pytest
import torch
from tiny import CLASSES, HEIGHT, WIDTH, detector_config
from torch import nn

from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.rfcn import PositionPooling, Vote, _keep_stride
from synth_detect_ros.errors import ConfigError

OWN = """
import torch
from torch import nn

class Net(nn.Module):
    out_channels, stride = 12, 16

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 16, 16)

    def forward(self, x):
        return self.conv(x)
"""


def bilinear(image, y, x):
    """Return the value between pixels; 0 beyond the border, the border's own value just inside."""
    height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = max(y, 0), max(x, 0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, along = min(y, height - 1) - top, min(x, width - 1) - left
    upper = image[top, left] * (1 - along) + image[top, right] * along
    lower = image[bottom, left] * (1 - along) + image[bottom, right] * along
    return upper * (1 - down) + lower * down


def slow_votes(maps, box, bins, samples, stride):
    """Return (D,) votes of a box: Dai et al. 2016, eq. 1, as it is written."""
    left, top, right, bottom = box / stride - 0.5
    votes = []
    for number in range(len(maps) // bins**2):
        total = 0.0
        for i in range(bins):
            for j in range(bins):
                image = maps[(number * bins + i) * bins + j]
                values = [
                    bilinear(
                        image,
                        top + (bottom - top) * (i + (a + 0.5) / samples) / bins,
                        left + (right - left) * (j + (b + 0.5) / samples) / bins,
                    )
                    for a in range(samples)
                    for b in range(samples)
                ]
                total += np.mean(values)
        votes.append(total / bins**2)
    return votes


@pytest.mark.parametrize(('bins', 'samples'), [(3, 2), (2, 3), (1, 1)])
def test_pooling_and_voting_are_those_of_plain_loops(bins, samples):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 5 * bins**2, 6, 8))
    corners = rng.uniform(-20, 100, (2, 4, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 60, corners.shape)], axis=2)
    pool = PositionPooling(bins, samples, stride=16)
    pooled = pool({'0': torch.tensor(maps).float()}, list(torch.tensor(boxes)), [])
    votes = torch.cat(Vote(len(maps[0]) // bins**2)(pooled)[:1], dim=1)
    wanted = [slow_votes(maps[i], b, bins, samples, 16) for i in range(2) for b in boxes[i]]
    np.testing.assert_allclose(votes.numpy(), wanted, atol=1e-5)


def test_autocast_changes_no_vote_and_stops_no_gradient():
    maps = torch.randn(1, 54, 6, 8, requires_grad=True)
    boxes = [torch.tensor([[3.0, 4, 70, 80]])]
    pool = PositionPooling(3, 2, 16)
    with torch.autocast('cpu', torch.bfloat16):
        votes, _ = Vote(6)(pool({'0': maps}, boxes, []))
    assert torch.equal(votes, Vote(6)(pool({'0': maps}, boxes, []))[0])
    votes.sum().backward()
    # Six numbers, each a mean of bins whose weights sum to one.
    assert math.isclose(maps.grad.sum(), 6, rel_tol=1e-4)


def test_all_classes_share_a_box():
    logits, codes = Vote(3)(torch.arange(14.0).view(2, 7, 1, 1))
    assert logits.tolist() == [[0, 1, 2], [7, 8, 9]]
    assert torch.equal(codes.view(2, 3, 4)[:, 0], codes.view(2, 3, 4)[:, 2])
    assert codes[1, :4].tolist() == [10, 11, 12, 13]


@pytest.mark.parametrize('base', [1, 2])
@pytest.mark.parametrize('name', ['mobilenet_v2', 'resnet18'])
def test_a_stage_without_strides_holds_what_it_computed_with_them(name, base):
    config = detector_config(neck='c4', extractor=name)
    torch.manual_seed(0)
    strided = build_extractor(config)
    torch.manual_seed(0)
    dense = build_extractor(config)
    x = torch.randn(1, strided.channels[-1], 16, 16)
    # The same map at its stride over `base`, by dilation, has other cells in between.
    between = torch.randn(1, strided.channels[-1], 16 * base, 16 * base)
    between[..., ::base, ::base] = x
    with torch.no_grad():
        wanted = strided.second_stage.eval()(x)
        stage = _keep_stride(dense.second_stage, dense.channels[-1], name, base)
        found = stage.eval()(between)
    assert found.shape == (1, wanted.shape[1], 16 * base, 16 * base)
    # The hole algorithm computes the same numbers, and those in between.
    torch.testing.assert_close(found[..., :: 2 * base, :: 2 * base], wanted, atol=1e-4, rtol=1e-4)


def test_folded_maps_are_the_same_and_the_detector_keeps_its_own():
    torch.manual_seed(0)
    detector = RCNN(detector_config(architecture='rfcn', neck='c4'), CLASSES).eval()
    maps = {'0': torch.rand(1, detector.neck.out_channels, 6, 8)}
    before = list(detector.state_dict())
    folded = detector.region_maps.folded()
    with torch.no_grad():
        torch.testing.assert_close(folded(maps), detector.region_maps(maps), atol=1e-5, rtol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert list(detector.state_dict()) == before


def test_a_stage_that_cannot_keep_its_map_is_refused():
    with pytest.raises(ConfigError, match='shrinks it'):
        _keep_stride(Stage(nn.MaxPool2d(2), pretrained=False), 4, 'pooling', 1)


@pytest.mark.parametrize('counts', [(0, 0), (2, 1)])
@pytest.mark.parametrize('name', ['mobilenet_v2', 'own'])
def test_losses_train_the_maps_and_what_is_before_them(tmp_path, name, counts):
    if name == 'own':
        (tmp_path / 'own_net.py').write_text(OWN)
        name = f'{tmp_path}/own_net.py:Net'
    torch.manual_seed(0)
    detector = RCNN(detector_config(architecture='rfcn', neck='c4', extractor=name), CLASSES)
    box = torch.tensor([[20.0, 20, 70, 80]])
    targets = [
        {'boxes': box.repeat(n, 1), 'labels': torch.zeros(n, dtype=torch.int64)} for n in counts
    ]
    losses = detector.train()([torch.rand(3, HEIGHT, WIDTH) for _ in counts], targets)
    assert all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    assert not detector.has_masks
    for part in (detector.region_maps.maps, detector.region_maps.trunk):
        assert all(p.grad is not None for p in part.parameters())


def test_a_pyramid_is_refused():
    with pytest.raises(ConfigError, match=r"neck: 'fpn' is not known\. Choose one of c4"):
        detector_config(architecture='rfcn', neck='fpn')
