"""The freeze dial: which part of the pre-trained extractor keeps its weights.

Hinterstoisser et al. 2017, sec. 3.3, freeze the extractor and train the rest on renderings only.
Whether "x
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from synth_detect_ros.detectors.folding import fold_batch_norm
from synth_detect_ros.errors import FreezeError

POLICIES = ('none', 'first_stage', 'both_stages', 'until:<step>')


class Stage(nn.Module):
    """A part of the extractor that can be frozen, and that `.train()` cannot thaw.

    Frozen: no parameter asks for a gradient, no activation is kept for one, and every layer stays
    in inference mode; what computes is a copy with batch norm folded in. Batch norm of a
    pre-trained stage stays in inference mode even when the stage trains, as in the paper's
    toolchain: batches of two cannot estimate statistics.

    Args:
        module: the layers.
        pretrained: whether the layers hold trained weights.
    """

    def __init__(self, module: nn.Module, pretrained: bool) -> None:
        super().__init__()
        self.module = module
        self.pretrained = pretrained
        self.frozen = False
        # In a list, or its weights would become part of the state dict.
        self._folded: list[nn.Module] = []
        self.register_load_state_dict_post_hook(Stage._unfold)  # type: ignore[no-untyped-call]

    def freeze(self) -> None:
        """Stop training of this stage."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def thaw(self) -> None:
        """Let this stage train again."""
        self.frozen = False
        self._unfold()
        self.requires_grad_(True)
        self.train()

    def train(self, mode: bool = True) -> Stage:
        """Switch to training mode, except what must stay in inference mode."""
        super().train(mode and not self.frozen)
        if self.pretrained:
            for layer in self.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layers, without gradients while frozen."""
        if not self.frozen:
            return self.module(x)
        with torch.no_grad():
            if not self._folded:
                self._folded.append(fold_batch_norm(self.module))
            return self._folded[0](x)

    def _unfold(self, *_: object) -> None:
        """Forget the copy: the weights it was made from have changed."""
        self._folded.clear()

    def _apply(self, *args: Any, **kwargs: Any) -> Stage:
        self._unfold()  # another device or precision
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self


@dataclass(frozen=True)
class FreezeReport:
    """What the freeze dial did, for people and for the bundle.

    Attributes:
        policy: the value of the dial.
        until_step: first step at which everything trains; None for a lasting freeze.
        frozen: parameters that do not train, by stage name.
        trainable: parameters that train.
    """

    policy: str
    until_step: int | None
    frozen: Mapping[str, int]
    trainable: int

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for YAML."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one line for the log."""
        total = sum(self.frozen.values())
        stages = ', '.join(f'{name} {count:,}' for name, count in self.frozen.items()) or 'nothing'
        until = '' if self.until_step is None else f' until step {self.until_step}'
        return (
            f'freeze {self.policy}: {total:,} parameters frozen{until} ({stages}), '
            f'{self.trainable:,} train'
        )


def apply_freeze(model: nn.Module, stages: Mapping[str, Stage], policy: str) -> FreezeReport:
    """Freeze the stages of a model according to the dial.

    Args:
        model: the whole detector.
        stages: its extractor's stages, 'first_stage' and, for a C4 detector, 'second_stage'.
        policy: 'none', 'first_stage', 'both_stages' or 'until:<step>', which freezes every stage
            until that step.

    Returns:
        What was frozen.

    Raises:
        FreezeError: unknown policy, or a stage with random weights would be frozen.
    """
    name, _, step = policy.partition(':')
    if name == 'none':
        chosen = []
    elif name == 'first_stage':
        chosen = ['first_stage']
    elif name == 'both_stages' or (name == 'until' and step.isdigit()):
        chosen = list(stages)
    else:
        raise FreezeError(f'freeze: {policy!r} is not known. Choose one of {", ".join(POLICIES)}.')
    for key in chosen:
        if not stages[key].pretrained:
            raise FreezeError(
                f'freeze: {policy} would freeze the random weights of {key}. Give pre-trained '
                'weights (detector.weights: default or a file), or freeze: none.'
            )
    for key in chosen:
        stages[key].freeze()
    return FreezeReport(
        policy=policy,
        until_step=int(step) if name == 'until' else None,
        frozen={key: sum(p.numel() for p in stages[key].parameters()) for key in chosen},
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def thaw_at(stages: Mapping[str, Stage], report: FreezeReport, step: int) -> bool:
    """Thaw all stages when training reaches the step of an 'until' policy.

    Returns:
        Whether this call thawed something.
    """
    if report.until_step is None or step < report.until_step:
        return False
    frozen = [stage for stage in stages.values() if stage.frozen]
    for stage in frozen:
        stage.thaw()
    return bool(frozen)
