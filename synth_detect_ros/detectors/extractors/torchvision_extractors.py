"""torchvision's networks as extractors that run as a whole."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import fx, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.extractor import Extractor
from synth_detect_ros.detectors.extractors.feature_maps import (
    PROBE,
    MapForm,
    form_of,
    map_extractor,
    unknown,
)
from synth_detect_ros.detectors.extractors.weights import Hub, fill
from synth_detect_ros.errors import ConfigError

# Of the maps that necks use.
STRIDES = (4, 8, 16, 32)
# Its weights want the input that this makes; the rest saves time.
OPTIONS = {'googlenet': {'transform_input': True, 'aux_logits': False, 'init_weights': False}}


def torchvision_hub(name: str) -> Hub:
    """Return where torchvision fetches the weights of a network."""
    weights = torchvision.models.get_model_weights(name)['DEFAULT']
    return Hub(
        f'torchvision {name}', weights.url, lambda: dict(weights.get_state_dict(progress=False))
    )


def torchvision_extractor(config: NetworkConfig, load: bool) -> Extractor:
    """Build the extractor torchvision:<name>.

    Args:
        config: see `build_extractor`.
        load: False leaves the weights random.

    Raises:
        ConfigError: torchvision does not know the network, or it has no maps that follow the size
            of the image.
        WeightsError: the weights cannot be had, or do not fit.
    """
    name = config.extractor.removeprefix('torchvision:')
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise unknown('torchvision', name, names)
    net = torchvision.models.get_model(name, **OPTIONS.get(name, {})).eval()
    try:
        nodes = _maps(net)
    except Exception as error:  # each network has its own way to refuse tracing or an image
        raise ConfigError(
            f'detector.extractor: wanted maps that follow the size of the image, but '
            f'torchvision:{name} makes none of one of {PROBE[1]} x {PROBE[0]} px: {error}. '
            'Choose a convolutional network or swin_t.'
        ) from error
    cut = _extract(net, list(nodes))
    source = fill(cut, config, load, torchvision_hub(name))
    like = torchvision.models.get_model_weights(name)['DEFAULT'].transforms()
    return map_extractor(config, cut, list(nodes.values()), source, like.mean, like.std)


@torch.no_grad()
def _maps(net: nn.Module) -> dict[str, MapForm]:
    """Return the last map of each stride by its name in torchvision's feature extraction.

    The last one through which all that follows is computed: a map inside a residual block, which
    a shortcut passes by, is none.
    """
    training, running = get_graph_node_names(net, suppress_diff_warning=True)
    shared = set(training)
    names = [name for name in running if name in shared]
    every = _extract(net, names)
    values: dict[str, Any] = every(torch.zeros(1, 3, *PROBE))
    gates = _gates(every.graph)
    found: dict[int, tuple[str, MapForm]] = {}
    *_, output = every.graph.nodes
    outputs: Any = output.args[0]
    for name, node in outputs.items():
        form = form_of(values[name])
        if node in gates and form is not None and form.stride in STRIDES:
            found[form.stride] = (name, form)
    return dict(found[stride] for stride in sorted(found))


def _extract(net: nn.Module, names: list[str]) -> fx.GraphModule:
    """Return the layers of a network in inference mode that compute the nodes of some names.

    Of torchvision's two graphs, for training and for inference, only the second is kept: a copy of
    the pair would be in training mode. The layers still know in which mode they are.
    """
    pair = create_feature_extractor(net, names, suppress_diff_warning=True).eval()
    return fx.GraphModule(pair, pair.eval_graph)


def _gates(graph: fx.Graph) -> set[fx.Node]:
    """Return the nodes that no connection passes by."""
    nodes = [node for node in graph.nodes if node.op != 'output']
    place = {node: i for i, node in enumerate(nodes)}
    gates, reach = set(), 0
    for i, node in enumerate(nodes):
        if reach <= i:
            gates.add(node)
        # Weights are no connection: they do not depend on the image.
        if node.op != 'get_attr':
            reach = max([reach, *(place[user] for user in node.users if user in place)])
    return gates
