"""The freeze dial: which part of the pre-trained extractor keeps its weights.

Hinterstoisser et al. 2017, sec. 3.3, freeze the extractor and train the rest on renderings only.
Whether "the extractor" ends before or behind its last block, the box classifier, their text leaves
open: both are offered, and what lies between nothing and all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from synth_detect_ros.config.training import FREEZE_CHOICES, FREEZE_PATTERN
from synth_detect_ros.detectors.extractors.adapters import Adapter
from synth_detect_ros.detectors.extractors.block_chain import BlockChain
from synth_detect_ros.detectors.extractors.folding import fold_batch_norm
from synth_detect_ros.errors import FreezeError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


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
        """Stop training of this stage, but for adapters in it."""
        self.frozen = True
        self._stop(self)
        self.eval()

    def freeze_early(self, stride: int) -> None:
        """Stop training of the layers up to a stride [px].

        Raises:
            FreezeError: the layers can only be run as a whole, or none ends there.
        """
        if not isinstance(self.module, BlockChain):
            raise FreezeError(
                f'freeze: early:{stride}: this extractor runs as a whole, its layers cannot be '
                'told apart. Choose first_stage, or an extractor with a name of its own, see '
                'detector.extractor.'
            )
        for block in self.module.early(stride):
            self._stop(block)

    def _stop(self, layers: nn.Module) -> None:
        """Let layers train no longer, but for adapters."""
        layers.requires_grad_(False)
        for adapter in self._adapters():
            adapter.requires_grad_(True)

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
                if isinstance(layer, BATCH_NORMS):
                    layer.eval()
        return self

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layers; without gradients while frozen, unless some must pass through."""
        if not self.frozen or self._adapters() or x.requires_grad:
            return self.module(x)
        with torch.no_grad():
            if not self._folded:
                self._folded.append(fold_batch_norm(self.module))
            return self._folded[0](x)

    def _adapters(self) -> list[Adapter]:
        return [m for m in self.module.modules() if isinstance(m, Adapter)]

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that are not of adapters."""
        own = {id(p) for adapter in self._adapters() for p in adapter.parameters()}
        return [p for p in self.parameters() if id(p) not in own]

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
        until_step: first step at which everything trains, where the dial says so.
        until_share: share of the run, in [0, 1], from which everything trains, likewise.
        frozen: parameters that do not train, by stage name.
        trainable: parameters that train.
    """

    policy: str
    until_step: int | None
    until_share: float | None
    frozen: Mapping[str, int]
    trainable: int

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for YAML."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one line for the log."""
        total = sum(self.frozen.values())
        stages = ', '.join(f'{name} {count:,}' for name, count in self.frozen.items()) or 'nothing'
        return (
            f'freeze {self.policy}: {total:,} parameters frozen ({stages}), '
            f'{self.trainable:,} train'
        )

    def over(self, step: int, share: float) -> bool:
        """Return whether the freeze ends here.

        Args:
            step: steps done.
            share: of the run that is done, in [0, 1].
        """
        by_step = self.until_step is not None and step >= self.until_step
        return by_step or (self.until_share is not None and share >= self.until_share)


def apply_freeze(model: nn.Module, stages: Mapping[str, Stage], policy: str) -> FreezeReport:
    """Freeze the stages of a model according to the dial.

    Args:
        model: the whole detector.
        stages: its extractor's stages, 'first_stage' and, for a C4 detector, 'second_stage'.
        policy: 'none'; 'early:<stride>', the layers up to that stride; 'first_stage';
            'both_stages'; 'until:<step>' or 'until:<percent>%', every stage until that step or
            share of the run.

    Returns:
        What was frozen.

    Raises:
        FreezeError: unknown policy, a stage with random weights would be frozen, or the extractor
            has no layers of that stride.
    """
    if not re.fullmatch(FREEZE_PATTERN, policy):
        raise FreezeError(f'freeze: {policy!r} is not known. Choose one of {FREEZE_CHOICES}.')
    name, _, value = policy.partition(':')
    names = {'none': [], 'early': ['first_stage'], 'first_stage': ['first_stage']}
    chosen = {key: stages[key] for key in names.get(name, stages)}
    _refuse_random(chosen, policy)
    for stage in chosen.values():
        if name == 'early':
            stage.freeze_early(int(value))
        else:
            stage.freeze()
    until, percent = name == 'until', value.endswith('%')
    return FreezeReport(
        policy=policy,
        until_step=int(value) if until and not percent else None,
        until_share=int(value[:-1]) / 100 if until and percent else None,
        frozen={key: _count(stage, trainable=False) for key, stage in chosen.items()},
        trainable=_count(model, trainable=True),
    )


def _refuse_random(stages: Mapping[str, Stage], policy: str) -> None:
    for key, stage in stages.items():
        if not stage.pretrained:
            raise FreezeError(
                f'freeze: {policy} would freeze the random weights of {key}. Give pre-trained '
                'weights (detector.weights: default or a file), or freeze: none.'
            )


def _count(module: nn.Module, *, trainable: bool) -> int:
    """Return the number of parameters that train, or that do not."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad == trainable)


def thaw_at(stages: Mapping[str, Stage], report: FreezeReport, step: int, share: float) -> bool:
    """Thaw all stages when training gets to the end of an 'until' policy; see `over`.

    Returns:
        Whether this call thawed something.
    """
    if not report.over(step, share):
        return False
    frozen = [stage for stage in stages.values() if stage.frozen]
    for stage in frozen:
        stage.thaw()
    return bool(frozen)
