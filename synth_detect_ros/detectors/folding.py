"""Batch norm folded into the convolutions before it, for layers that do not train.

In inference mode batch norm is a fixed scale and shift of each channel, so the convolution can
apply it: y = g (W x + b - m) / s + c = (g W / s) x + g (b - m) / s + c.
"""

from __future__ import annotations

import logging

from torch import nn
from torch.fx.experimental.optimization import fuse

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
        return fuse(module)
    except Exception as error:  # whatever a network of anybody's raises when it is traced
        logger.debug('batch norm is not folded: %s', error)
        return module
