"""InceptionResnetV2 (Szegedy et al. 2017) as a chain, the extractor of the paper's best results.

The paper's toolchain runs the network up to what TF-Slim calls PreAuxLogits on the image, and
Mixed_7a, ten Block8 and Conv2d_7b on each proposal (TensorFlow Object Detection API,
faster_rcnn_inception_resnet_v2_feature_extractor). Layers and weights are timm's.
"""

from __future__ import annotations

from torch import nn

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.block_chain import Branches, PretrainedChain
from synth_detect_ros.detectors.extractors.timm_extractors import timm_network

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
LAST_OF_STRIDE = {4: 'conv2d_4a', 8: 'repeat', 16: 'repeat_1', 32: 'conv2d_7b'}


def inception_chain(config: NetworkConfig, load: bool) -> PretrainedChain:
    """Return the network with its weights; see `timm_network`."""
    net, source = timm_network(config, NAME, load)
    ends = {stride: LAYERS.index(name) for stride, name in LAST_OF_STRIDE.items()}
    residual = ('repeat.0', 'repeat_1.0', 'block8')  # a Block35, Block17 and Block8
    types = tuple(type(net.get_submodule(name)) for name in residual)
    return PretrainedChain(blocks(net), ends, source, MEAN, STD, types)


def blocks(net: nn.Module) -> list[nn.Module]:
    """Return the layers of timm's network in the order in which they run, without classifier."""
    layers = [(name, net.get_submodule(name)) for name in LAYERS]
    # timm's Mixed blocks do nothing but join the outputs of their children.
    return [
        Branches(layer.children()) if name.startswith('mixed') else layer for name, layer in layers
    ]
