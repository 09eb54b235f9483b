"""Names that the options of detectors had in version 0.1, where all architectures shared them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synth_detect_ros.config.rules import Group, keys_of, rules_of
from synth_detect_ros.errors import ConfigError

# Today's names by those of then; the first one that an architecture has.
RENAMED: dict[str, tuple[str, ...]] = {
    'backbone': ('extractor',),
    'fpn_channels': ('channels',),
    'box_head_convs': ('box_head.convs', 'convs'),
    'box_head_channels': ('box_head.channels',),
    'anchor_ratios': ('rpn.anchor_ratios',),
    'anchor_scale': ('rpn.anchor_scale',),
    'anchor_octaves': ('rpn.anchor_octaves',),
    'rpn_channels': ('rpn.channels',),
    'rpn_dilation': ('rpn.dilation',),
    'rpn_coder': ('rpn.coder',),
    'rpn_iou': ('rpn.iou',),
    'rpn_batch': ('rpn.batch',),
    'rpn_candidates': ('rpn.candidates',),
    'rpn_nms_iou': ('rpn.nms_iou',),
    'proposals': ('rpn.proposals',),
    'roi_size': ('box_head.roi_size',),
    'roi_pool': ('box_head.roi_pool',),
    'position_bins': ('box_head.bins',),
    'box_coder': ('box_head.coder', 'coder'),
    'box_iou': ('box_head.iou', 'iou'),
    'box_batch': ('box_head.batch',),
    'loss.rpn_beta': ('rpn.beta',),
    'loss.box_beta': ('box_head.beta', 'beta'),
    'loss.objectness': ('rpn.objectness_weight',),
    'loss.rpn_box': ('rpn.box_weight',),
    'loss.classes': ('box_head.class_weight', 'class_weight'),
    'loss.box': ('box_head.box_weight', 'box_weight'),
    'loss.mask': ('mask_weight',),
    **{
        f'ssd.{key}': (key,)
        for key in (
            'maps', 'extra_channels', 'scales', 'ratios', 'reduce_lowest', 'kernel', 'negatives',
            'min_negatives', 'candidates',
        )
    },
}  # fmt: skip


def renamed_in(architectures: Sequence[Group], cls: Group) -> dict[str, str]:
    """Return what to call the options of version 0.1 in the configuration of an architecture.

    Args:
        architectures: configurations of all of them.
        cls: one of these; options that it does not have come with those that do.
    """
    keys = {_word(other): set(keys_of(other)) for other in architectures}
    found = {}
    for old, names in RENAMED.items():
        name = next((n for n in names if n in keys[_word(cls)]), None)
        having = ', '.join(word for word, own in keys.items() if own & set(names))
        found[old] = name or f'{names[0]} (architecture {having})'
    return found


def translate(architectures: Sequence[Group], mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a detector of version 0.1 under today's names; today's stay as they are.

    Args:
        architectures: configurations of all of them.
        mapping: as version 0.1 wrote it, with options of all architectures; those that mean
            nothing to this one are left out.

    Raises:
        ConfigError: a value stands in place of a group.
    """
    word = mapping.get('architecture', _word(architectures[0]))
    keys = {_word(other): set(keys_of(other)) for other in architectures}
    every = set().union(*keys.values())
    own = keys[word] if word in list(keys) else every
    translated: dict[str, Any] = {}
    for old, value in _leaves(mapping):
        names = RENAMED.get(old, (old,))
        name = next((n for n in names if n in own), names[0])
        if name in own or name not in every:
            *groups, key = name.split('.')
            place = translated
            for group in groups:
                place = place.setdefault(group, {})
                if not isinstance(place, dict):
                    raise ConfigError(f'{group}: wanted a group of options, got {place!r}')
            place[key] = value
    return translated


def _word(cls: Group) -> str:
    return rules_of(cls)['architecture'].choices[0]


def _leaves(mapping: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value
