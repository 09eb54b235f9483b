"""Layers of a pre-trained network, made to keep the size of their map or to share its grid."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from synth_detect_ros.detectors.extractors.block_chain import Branches


def drop_strides(module: nn.Module) -> None:
    """Let a module keep the size of its map where something before it has already shrunk it."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            layer.stride = (1, 1)


def align(module: nn.Module) -> None:
    """Pad all windows by half their size: a map of stride s has ceil(size / s) cells.

    Cell i then looks at pixel i * s, whatever the size of the image. Networks that were trained
    without padding, as Inception, get TensorFlow's SAME size, which its detectors use; TensorFlow
    itself puts the windows of an even size one pixel further to the right and down.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            height, width = (
                (k - 1) * d // 2
                for k, d in zip(_pair(layer.kernel_size), _pair(layer.dilation), strict=True)
            )
            layer.padding = (height, width)


def dilate(modules: Iterable[nn.Module], dilation: int = 1, base: int = 1) -> int:
    """Let a chain keep the size of its map by the hole algorithm (Dai et al. 2016, sec. 3).

    Strides become 1, and the windows after them look at pixels as far apart as before, so that
    pre-trained weights still see what they were trained on.

    Args:
        modules: run one after the other, padded as by `align`; changed in place.
        dilation: of the map they look at, over `base`.
        base: dilation of the map that the chain begins with.

    Returns:
        Dilation of the map that they put out, over `base`.
    """
    for module in modules:
        if isinstance(module, Branches):
            dilation = max(dilate([branch], dilation, base) for branch in module.children())
        elif isinstance(module, nn.Conv2d | nn.MaxPool2d):
            dilation = _spread(module, dilation, base)
        else:
            dilation = dilate(module.children(), dilation, base)
    return dilation


def _spread(layer: nn.Conv2d | nn.MaxPool2d, dilation: int, base: int) -> int:
    """Dilate one layer without its stride; return the dilation of what it puts out."""
    stride, kernel = _pair(layer.stride), _pair(layer.kernel_size)
    apart = base * dilation
    if max(kernel) > 1 and apart > 1:
        height, width = _pair(layer.padding)
        layer.dilation = (apart, apart)
        layer.padding = (apart * height, apart * width)
    layer.stride = (1, 1)
    # A shortcut of one pixel strides beside the branch it joins, not after it.
    return max(dilation, stride[0])


def _pair(value: object) -> tuple[int, int]:
    """Return height and width of what torch keeps as one number or two."""
    if isinstance(value, tuple):
        return int(value[0]), int(value[1])
    assert isinstance(value, int)
    return value, value
