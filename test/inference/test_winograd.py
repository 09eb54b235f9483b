"""Fast convolutions give what the plain ones give."""

import pytest
import torch
from torch import nn

from synth_detect_ros.inference.winograd import Axis, SquareConv, suits

TOLERANCE = 1e-3  # of values of size 1: the transforms lose digits of float32


@pytest.fixture
def conv():
    torch.manual_seed(0)
    return nn.Conv2d(8, 12, 3, padding=1)


@pytest.mark.parametrize('length', [1, 2, 3, 4, 5, 7, 8, 14])
def test_one_axis_is_a_correlation(length):
    axis = Axis(length)
    torch.manual_seed(0)
    data, taps = torch.randn(length + 2).double(), torch.randn(3).double()
    enter, weigh, leave = (torch.tensor(m) for m in (axis.enter, axis.weigh, axis.leave))
    wanted = data.unfold(0, 3, 1) @ taps
    torch.testing.assert_close(leave @ ((weigh @ taps) * (enter @ data)), wanted)


@torch.no_grad()
@pytest.mark.parametrize('count', [0, 1, 5])
@pytest.mark.parametrize('side', [3, 7, 14])
def test_squares_are_convolved(conv, side, count):
    x = torch.randn(count, 8, side, side)
    y = SquareConv(conv, side)(x.permute(2, 3, 0, 1).contiguous())
    torch.testing.assert_close(y.permute(2, 3, 0, 1), conv(x), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_errors_of_a_layer_of_usual_width_are_small():
    torch.manual_seed(0)
    conv = nn.Conv2d(128, 128, 3, padding=1)
    x = torch.randn(20, 128, 7, 7).relu()
    wanted = nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    error = SquareConv(conv, 7)(x.permute(2, 3, 0, 1)).permute(2, 3, 0, 1) - wanted
    assert error.abs().max() < 1e-3 * wanted.abs().max()
    assert error.square().mean().sqrt() < 1e-4 * wanted.square().mean().sqrt()


@torch.no_grad()
def test_a_convolution_without_bias_is_one(conv):
    conv.bias = None
    x = torch.randn(2, 8, 7, 7)
    y = SquareConv(conv, 7)(x.permute(2, 3, 0, 1))
    torch.testing.assert_close(y.permute(2, 3, 0, 1), conv(x), atol=TOLERANCE, rtol=0)


def test_the_usual_convolution_suits(conv):
    assert suits(conv)


@pytest.mark.parametrize(
    'other',
    [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, padding=0),
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect'),
        nn.ReLU(),
    ],
)
def test_other_layers_do_not_suit(other):
    assert not suits(other)
