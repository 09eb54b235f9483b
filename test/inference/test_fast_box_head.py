"""The fast box head gives what torchvision's gives."""

import pytest
import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, TwoMLPHead

from synth_detect_ros.inference.fast_box_head import FastBoxHead, can_be_fast, group_norm


def group(channels):
    return nn.GroupNorm(4, channels)


def make_head(norm=group, convs=2):
    torch.manual_seed(0)
    head = FastRCNNConvFCHead((8, 7, 7), [16] * convs, [24, 12], norm_layer=norm)
    for parameter in head.parameters():  # norms that do something
        nn.init.normal_(parameter, std=0.3)
    return head.eval()


@torch.no_grad()
@pytest.mark.parametrize('count', [0, 1, 130])
@pytest.mark.parametrize('norm', [group, None])
@pytest.mark.parametrize('convs', [0, 1, 2])
def test_features_are_the_same(norm, convs, count):
    head = make_head(norm, convs)
    assert can_be_fast(head)
    crops = torch.randn(count, 8, 7, 7)
    wanted = head(crops) if count else torch.zeros(0, 12)
    torch.testing.assert_close(FastBoxHead(head, 7)(crops), wanted, atol=3e-3, rtol=1e-3)


@torch.no_grad()
def test_group_norm_is_torchs():
    norm = nn.GroupNorm(4, 16)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(5, 16, 7, 7) + 3
    mine = group_norm(x.permute(2, 3, 0, 1).clone(), norm)
    torch.testing.assert_close(mine.permute(2, 3, 0, 1), norm(x), atol=1e-5, rtol=1e-5)


def test_other_heads_are_left_alone():
    assert not can_be_fast(TwoMLPHead(8, 4))
    assert not can_be_fast(make_head(nn.BatchNorm2d))
