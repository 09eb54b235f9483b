"""Batch norm folded into the convolutions before it, for layers that do not train.

In inference mode batch norm is a fixed scale and shift of each channel, so the convolution can
apply it: y = g (W x + b - m) / s + c = (g W / s) x + g (b - m) / s + c.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter

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
        layers = copy.deepcopy(module)
        return _fold(fx.GraphModule(layers, _Tracer().trace(layers)))
    except Exception as error:  # whatever a network of anybody's raises when it is traced
        logger.debug('batch norm is not folded: %s', error)
        return module


class _Tracer(fx.Tracer):
    """Takes batch norm that also applies an activation, as timm's does, for one layer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _fold(traced: fx.GraphModule) -> fx.GraphModule:
    """Fold each batch norm that is all that uses the output of a convolution."""
    layers = dict(traced.named_modules())
    calls = Counter(node.target for node in traced.graph.nodes if node.op == 'call_module')
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or len(before.users) > 1:
            continue
        if calls[node.target] != 1 or calls[before.target] != 1:  # no layer, or a shared one
            continue
        norm, conv = layers[str(node.target)], layers[str(before.target)]
        running = isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats
        if running and type(conv) is nn.Conv2d:
            traced.add_submodule(str(before.target), fuse_conv_bn_eval(conv, norm))
            activation = getattr(norm, 'act', None)
            if isinstance(activation, nn.Module):
                traced.add_submodule(str(node.target), activation)
            else:
                node.replace_all_uses_with(before)
                traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
