"""What kinds of errors cost how much: each is mended alone, and the detections scored again.

Kinds and thresholds are those of Bolya et al. 2020 ("TIDE", sec. 2.2): a detection that matches no
annotation is wrong in its class, in its box, in both, a duplicate, or on the background; an
annotation that none of them comes near is missed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.evaluation.metrics import METRICS, number, score
from synth_detect_ros.evaluation.selection import Annotation, Selection, box_array, grouped
from synth_detect_ros.geometry.boxes import iou

# Overlap from which a detection is one of the annotation, and up to which it is background.
FOREGROUND, BACKGROUND_IOU = 0.5, 0.1
MATCH, LOOSE, CLASS, BOTH, DUPLICATE, BACKGROUND = (
    'match', 'loose box', 'wrong class', 'wrong class and loose', 'duplicate', 'background',
)  # fmt: skip
MISSED = 'missed'
ERRORS = (LOOSE, CLASS, BOTH, DUPLICATE, BACKGROUND, MISSED)
# Sides of squares as large as an object, that divide small from middle from large [px]: COCO's.
SIZES = (0.0, 32.0, 96.0, np.inf)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a detection is.

    Attributes:
        found: the detection.
        kind: `MATCH`, or the kind of its error.
        truth: the annotation it matches, or would if it were mended; None for background.
        overlap: IoU with that annotation.
    """

    found: Annotation
    kind: str
    truth: Annotation | None
    overlap: float


def diagnose(selection: Selection) -> dict[str, Any]:
    """Return which errors there are, and the metrics without each.

    Args:
        selection: what is compared, see `selection.select`.

    Returns:
        `counts`, of each of `ERRORS` and of matches; `repaired`, kind -> AP and the others of
        `metrics.score` for boxes where only this kind is mended, and 'perfect boxes', where each
        match and each loose box has the annotation's box; `sizes`, for small, middle and large
        annotations their number, `recall` at an IoU of .5, and `mean_iou` of the matches, None
        for none.
    """
    verdicts = judge(selection)
    missed = _missed(selection, verdicts)
    kinds = [v.kind for v in verdicts]
    counts = {kind: kinds.count(kind) for kind in (MATCH, *ERRORS)} | {MISSED: len(missed)}
    repaired = {kind: _score(repair(selection, verdicts, kind)) for kind in ERRORS}
    boxes = [_boxed(v, (MATCH, LOOSE)) for v in verdicts]
    repaired['perfect boxes'] = _score(_with(selection, _once(verdicts, boxes)))
    return {'counts': counts, 'repaired': repaired, 'sizes': _by_size(selection, verdicts)}


def judge(selection: Selection) -> list[Verdict]:
    """Return what each detection is, the best ones of an image first."""
    found = grouped(selection.found, 'image_id')
    truth = grouped(selection.truth, 'image_id')
    return [v for key, rows in found.items() for v in judge_image(rows, truth.get(key, []))]


def judge_image(found: Sequence[Annotation], truth: Sequence[Annotation]) -> list[Verdict]:
    """Match detections of one image with annotations of their class as COCO does.

    Args:
        found: the detections.
        truth: the annotations.

    Returns:
        What each detection is, the best score first.
    """
    rows = sorted(found, key=lambda row: -row['score'])
    overlaps = iou(box_array(rows), box_array(truth))
    same = np.array(
        [[a['category_id'] == b['category_id'] for b in truth] for a in rows], bool
    ).reshape(overlaps.shape)
    free = np.ones(len(truth), bool)
    verdicts = []
    for row, overlap, own in zip(rows, overlaps, same, strict=True):
        candidates = np.where(own & free, overlap, 0)
        if candidates.max(initial=0) >= FOREGROUND:
            best = int(candidates.argmax())
            free[best] = False
            verdicts.append(Verdict(row, MATCH, truth[best], float(overlap[best])))
        else:
            verdicts.append(_error(row, overlap, own, truth))
    return verdicts


def _error(
    row: Annotation,
    overlap: NDArray[np.float64],
    own: NDArray[np.bool_],
    truth: Sequence[Annotation],
) -> Verdict:
    """Return what is wrong with a detection that matches nothing."""
    mine, other = np.where(own, overlap, 0), np.where(own, 0, overlap)
    for kind, values, least in (
        (DUPLICATE, mine, FOREGROUND),
        (LOOSE, mine, BACKGROUND_IOU),
        (CLASS, other, FOREGROUND),
        (BOTH, other, BACKGROUND_IOU),
    ):
        if values.max(initial=0) >= least:
            best = int(values.argmax())
            return Verdict(row, kind, truth[best], float(overlap[best]))
    return Verdict(row, BACKGROUND, None, 0.0)


def repair(selection: Selection, verdicts: Sequence[Verdict], kind: str) -> Selection:
    """Return what would be compared if one kind of error were mended.

    A loose box and a wrong class become those of their annotation, unless something matches it
    already; other wrong detections go; missed annotations no longer count.

    Args:
        selection: what is compared.
        verdicts: of its detections.
        kind: one of `ERRORS`.
    """
    if kind == MISSED:
        gone = _missed(selection, verdicts)
        truth = [row for row in selection.truth if row['id'] not in gone]
        return dataclasses.replace(selection, truth=truth)
    if kind == LOOSE:
        rows: list[Annotation | None] = [_boxed(v, (LOOSE,)) for v in verdicts]
    elif kind == CLASS:
        rows = [
            {**v.found, 'category_id': v.truth['category_id']}
            if v.kind == CLASS and v.truth
            else v.found
            for v in verdicts
        ]
    else:
        rows = [None if v.kind == kind else v.found for v in verdicts]
    return _with(selection, _once(verdicts, rows))


def _boxed(verdict: Verdict, kinds: Sequence[str]) -> Annotation:
    """Return a detection of these kinds with the box of its annotation."""
    if verdict.kind not in kinds or verdict.truth is None:
        return verdict.found
    return {**verdict.found, 'bbox': verdict.truth['bbox']}


def _once(verdicts: Sequence[Verdict], rows: Sequence[Annotation | None]) -> list[Annotation]:
    """Return rows without those that were mended onto an annotation which has its match."""
    taken = {v.truth['id'] for v in verdicts if v.kind == MATCH and v.truth}
    kept: list[Annotation] = []
    for verdict, row in sorted(
        zip(verdicts, rows, strict=True), key=lambda pair: -pair[0].found['score']
    ):
        mended = row is not None and row is not verdict.found and verdict.kind != MATCH
        if row is None or (mended and verdict.truth and verdict.truth['id'] in taken):
            continue
        if mended and verdict.truth:
            taken.add(verdict.truth['id'])
        kept.append(row)
    return kept


def _missed(selection: Selection, verdicts: Sequence[Verdict]) -> set[int]:
    """Return ids of annotations that no match, loose box or wrong class is about."""
    near = {v.truth['id'] for v in verdicts if v.truth and v.kind in (MATCH, LOOSE, CLASS)}
    return {row['id'] for row in selection.truth} - near


def _by_size(selection: Selection, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    overlaps = {v.truth['id']: v.overlap for v in verdicts if v.kind == MATCH and v.truth}
    sides = {row['id']: float(np.sqrt(np.prod(row['bbox'][2:]))) for row in selection.truth}
    result = []
    for low, high in itertools.pairwise(SIZES):
        ids = [i for i, side in sides.items() if low <= side < high]
        matched = [overlaps[i] for i in ids if i in overlaps]
        result.append(
            {
                'from_px': low,
                'annotations': len(ids),
                'recall': len(matched) / len(ids) if ids else None,
                'mean_iou': float(np.mean(matched)) if matched else None,
            }
        )
    return result


def _with(selection: Selection, found: Sequence[Annotation]) -> Selection:
    rows = [{**row, 'id': number} for number, row in enumerate(found, start=1)]
    return dataclasses.replace(selection, found=rows)


def _score(selection: Selection) -> dict[str, float | None]:
    metrics = score(selection, masks=False)['bbox']
    return {name: metrics[name] for name in METRICS}


def diagnosis_table(result: Mapping[str, Any]) -> str:
    """Return `diagnose` as lines of text, beside the metrics of the same detections.

    Args:
        result: of `evaluate`, with `diagnosis`.
    """
    found, before = result['diagnosis'], result['bbox']
    lines = [f'{"without each kind of error":<32}{"number":>8}{"AP":>8}{"AP50":>8}   gain']
    for kind, metrics in found['repaired'].items():
        count = found['counts'].get(kind, '')
        gain = (metrics['AP'] or 0) - (before['AP'] or 0)
        numbers = f'{number(metrics["AP"]):>8}{number(metrics["AP50"]):>8}{gain:>+8.3f}'
        lines.append(f'{kind:<32}{count:>8}{numbers}')
    lines.append(f'{"annotations by size":<32}{"number":>8}{"recall":>8}{"IoU":>8}')
    for row, high in zip(found['sizes'], SIZES[1:], strict=True):
        span = f'{row["from_px"]:.0f} to {high:.0f} px' if high < np.inf else 'larger'
        numbers = f'{number(row["recall"]):>8}{number(row["mean_iou"]):>8}'
        lines.append(f'{span:<32}{row["annotations"]:>8}{numbers}')
    return '\n'.join(lines)
