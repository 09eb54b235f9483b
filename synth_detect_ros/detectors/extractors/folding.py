"""Batch norm folded into the convolutions before it, for layers that do not train.

In inference mode batch norm is a fixed scale and shift of each channel, so the convolution can
apply it: y = g (W x + b - m) / s + c = (g W / s) x + g (b - m) / s + c.
"""

from __future__ import annotations

import copy
import logging

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

logger = logging.getLogger(__name__)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy for computing with batch norm folded in; the module itself stays as it is.

    Args:
        module: in inference mode.

    Returns:
        The copy, or `module` where its graph cannot be traced, for example because it depends on
        the values it computes.
    """
    try:
        return _fold(fx.symbolic_trace(_split(copy.deepcopy(module))))
    except Exception as error:  # whatever a network of anybody's raises when it is traced
        logger.debug('batch norm is not folded: %s', error)
        return module


def _fold(traced: fx.GraphModule) -> fx.GraphModule:
    """Fold each batch norm that is all that uses the output of a convolution."""
    layers = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.args else None
        if node.op != 'call_module' or not isinstance(before, fx.Node) or len(before.users) > 1:
            continue
        norm, conv = layers[node.target], layers.get(str(before.target))
        plain = type(norm) is nn.BatchNorm2d and norm.track_running_stats
        if plain and before.op == 'call_module' and type(conv) is nn.Conv2d:
            traced.add_submodule(str(before.target), fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _split(module: nn.Module) -> nn.Module:
    """Take apart batch norm layers that also apply an activation, as many of timm's do.

    Args:
        module: in inference mode, in which dropout does nothing; changed in place.
    """
    for parent in list(module.modules()):
        for key, layer in list(parent.named_children()):
            activation = getattr(layer, 'act', None)
            if isinstance(layer, nn.BatchNorm2d) and isinstance(activation, nn.Module):
                setattr(parent, key, nn.Sequential(_plain(layer), activation))
    return module


def _plain(layer: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Return the batch norm of a layer that does more."""
    plain = nn.BatchNorm2d(
        layer.num_features, layer.eps, affine=layer.affine,
        track_running_stats=layer.track_running_stats,
    )  # fmt: skip
    state = layer.state_dict()
    plain.load_state_dict({key: state[key] for key in plain.state_dict()})
    return plain.to(next(iter(state.values()), None)).train(layer.training)
