"""InceptionResnetV2 (Szegedy et al. 2017) as a chain, the extractor of the paper's best results.

The paper's toolchain runs the network up to what TF-Slim calls PreAuxLogits on the image, and
Mixed_7a, ten Block8 and Conv2d_7b on each proposal (TensorFlow Object Detection API,
faster_rcnn_inception_resnet_v2_feature_extractor). Layers and weights are timm's.
"""

from __future__ import annotations

from torch import nn

from synth_detect_ros.detectors.extractors.block_chain import Branches

NAME = 'inception_resnet_v2'
# Images in [-1, 1].
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)
# In the order in which they run; repeat_1 is TF-Slim's PreAuxLogits.
LAYERS = (
    'conv2d_1a', 'conv2d_2a', 'conv2d_2b', 'maxpool_3a', 'conv2d_3b', 'conv2d_4a',
    'maxpool_5a', 'mixed_5b', 'repeat',
    'mixed_6a', 'repeat_1',
    'mixed_7a', 'repeat_2', 'block8', 'conv2d_7b',
)  # fmt: skip
ENDS = {
    4: LAYERS.index('conv2d_4a'),
    8: LAYERS.index('repeat'),
    16: LAYERS.index('repeat_1'),
    32: LAYERS.index('conv2d_7b'),
}


def chain(net: nn.Module) -> list[nn.Module]:
    """Return the layers of timm's network in the order in which they run, classifier left out."""
    layers = [(name, net.get_submodule(name)) for name in LAYERS]
    # timm's Mixed blocks do nothing but join the outputs of their children.
    return [
        Branches(layer.children()) if name.startswith('mixed') else layer for name, layer in layers
    ]


def residual_blocks(net: nn.Module) -> tuple[type[nn.Module], ...]:
    """Return the classes Block35, Block17 and Block8 of timm's network."""
    places = ('repeat.0', 'repeat_1.0', 'block8')
    return tuple(type(net.get_submodule(place)) for place in places)
