"""Region proposal network: the first stage of a two-stage detector (Ren et al. 2015, sec. 3.1).

torchvision's, with what the paper's toolchain sets otherwise: width and dilation of its
convolution, scale of its box codes, and its loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import Conv2dNormActivation

from synth_detect_ros.config import RCNNConfig, RFCNConfig
from synth_detect_ros.detectors.box_coder import BoxCoder, box_loss

# Share of positive anchors in a minibatch, as far as there are any.
POSITIVE = 0.5


class ProposalHead(nn.Module):
    """A 3x3 convolution, then objectness and box of each anchor, shared by all maps.

    Args:
        channels: of the maps.
        anchors: of each cell.
        width: channels of the convolution.
        dilation: of the convolution; 2 on a map whose stride was halved by dilation.
    """

    def __init__(self, channels: int, anchors: int, width: int, dilation: int) -> None:
        super().__init__()
        layer = Conv2dNormActivation(channels, width, 3, dilation=dilation, norm_layer=None)
        self.conv = nn.Sequential(layer)
        self.cls_logits = nn.Conv2d(width, anchors, 1)
        self.bbox_pred = nn.Conv2d(width, 4 * anchors, 1)
        for name, parameter in self.named_parameters():
            if name.endswith('bias'):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.01)

    def forward(
        self, maps: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return logits (B, A, H_i, W_i) and codes (B, 4 A, H_i, W_i) of (B, C, H_i, W_i) maps."""
        hidden = [self.conv(m) for m in maps]
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]  # torchvision is not typed
    """Anchors, head, and the choice of proposals.

    Args:
        config: `neck` and `rpn` are read.
        channels: of the maps.
        strides: of the maps of the extractor [px].
    """

    def __init__(
        self, config: RCNNConfig | RFCNConfig, channels: int, strides: Sequence[int]
    ) -> None:
        anchors = _anchors(config, strides)
        count = anchors.num_anchors_per_location()[0]
        rpn = config.rpn
        head = ProposalHead(channels, count, rpn.channels or channels, rpn.dilation)
        kept, candidates = rpn.proposals, rpn.candidates
        super().__init__(
            anchors,
            head,
            fg_iou_thresh=rpn.iou[1],
            bg_iou_thresh=rpn.iou[0],
            batch_size_per_image=rpn.batch,
            positive_fraction=POSITIVE,
            pre_nms_top_n={'training': candidates or 2 * kept, 'testing': candidates or kept},
            post_nms_top_n={'training': kept, 'testing': kept},
            nms_thresh=rpn.nms_iou,
        )
        self.box_coder = BoxCoder(rpn.coder)
        self._config = rpn

    def compute_loss(
        self,
        objectness: torch.Tensor,
        deltas: torch.Tensor,
        labels: list[torch.Tensor],
        targets: list[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of the objectness and that of the boxes.

        Args:
            objectness: (N, 1) logits of all anchors of all images.
            deltas: (N, 4) their codes.
            labels: of each image, 1 for an object, 0 for background, -1 for neither.
            targets: of each image, codes of the objects.
        """
        positive, negative = (
            torch.where(torch.cat(chosen))[0] for chosen in self.fg_bg_sampler(labels)
        )
        sampled = torch.cat([positive, negative])
        objectness_loss = functional.binary_cross_entropy_with_logits(
            objectness.flatten()[sampled], torch.cat(labels)[sampled]
        )
        wanted = torch.cat(targets)[positive]
        config = self._config
        boxes = box_loss(deltas[positive], wanted, config.beta, len(sampled))
        return config.objectness_weight * objectness_loss, config.box_weight * boxes


def _anchors(config: RCNNConfig | RFCNConfig, strides: Sequence[int]) -> AnchorGenerator:
    """Return the anchors: one size for each map of a pyramid, several for a single map."""
    rpn = config.rpn
    if config.neck == 'fpn':
        levels = [*strides, strides[-1] * 2]  # the last one is the pyramid's max pool
        sizes = [[rpn.anchor_scale * stride] for stride in levels]
    else:
        base = rpn.anchor_scale * strides[0]
        sizes = [[base * octave for octave in rpn.anchor_octaves]]
    rounded = tuple(tuple(round(side) for side in level) for level in sizes)
    return AnchorGenerator(rounded, (rpn.anchor_ratios,) * len(rounded))
