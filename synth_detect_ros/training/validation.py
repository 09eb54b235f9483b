"""Validation during training: COCO metrics on held-out renderings or on real labelled frames.

Synthetic images do not rank models as real ones do; thirty real labelled frames do. Give them with
`val_images` and `val_annotations` where there are some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.config import TrainConfig
from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.dataset.image_files import image_files, read_annotated
from synth_detect_ros.detectors.detector import Detector, to_tensor
from synth_detect_ros.evaluation.metrics import number, score
from synth_detect_ros.evaluation.selection import match_classes, select


@dataclass(frozen=True, eq=False)
class Validation:
    """Labelled images that a detector is scored on while it trains.

    Attributes:
        name: 'synthetic' or 'real'; 'no' for no images.
        folder: of the images.
        truth: COCO mapping.
        rows: the entries of `truth['images']` that are used.
    """

    name: str
    folder: Path
    truth: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @classmethod
    def of(
        cls, config: TrainConfig, classes: Sequence[str], synthetic: Path, held_out: Sequence[int]
    ) -> Validation:
        """Take the real images of the configuration or, without, the held-out synthetic ones.

        All of them are read once: a broken one would end the run when most of it is done.

        Args:
            config: `val_images`, `val_annotations` and `val_max_images` are read.
            classes: that the detector will know.
            synthetic: data set.
            held_out: images of it that are not trained on.

        Raises:
            DatasetError: the annotation file cannot be used or knows none of the classes; or an
                image is missing, broken or of another size.
        """
        if config.val_images:
            truth = read_coco(Path(config.val_annotations))
            folder, rows, name = Path(config.val_images), truth['images'], 'real'
        elif not held_out:
            return cls('no', synthetic, {}, [])
        else:
            truth = read_coco(synthetic / 'annotations.json')
            folder, name = synthetic / 'images', 'synthetic'
            rows = [truth['images'][i] for i in held_out]
        # Spread over the set, which may be a video.
        pick = np.linspace(0, len(rows) - 1, min(len(rows), config.val_max_images)).astype(int)
        validation = cls(name, folder, truth, [rows[i] for i in pick])
        match_classes(truth['categories'], classes)
        image_files(folder, [row['file_name'] for row in validation.rows])
        for row in validation.rows:
            validation._read(row)
        return validation

    def score(self, detector: Detector) -> dict[str, Any]:
        """Return the metrics of a detector, see `evaluation.metrics.score`; {} for no images."""
        if not self.rows:
            return {}
        detector.eval()
        device = next(detector.parameters()).device
        found = (  # one at a time: the masks of all of them would take gigabytes
            detector.detect([to_tensor(self._read(row), device)])[0] for row in self.rows
        )
        ids = [row['id'] for row in self.rows]
        selection = select(found, ids, self.truth, detector.classes)
        return score(selection, masks=detector.has_masks)

    def _read(self, row: Mapping[str, Any]) -> NDArray[np.uint8]:
        return read_annotated(self.folder / row['file_name'], (row['width'], row['height']))

    @staticmethod
    def score_of(metrics: Mapping[str, Any]) -> float:
        """Return the number that the best checkpoint is chosen by: box AP, 0 where undefined."""
        return float(metrics.get('bbox', {}).get('AP') or 0.0)

    def describe(self, metrics: Mapping[str, Any]) -> str:
        """Return one line for the log."""
        if not self.rows:
            return 'no images to validate on'
        groups = [(k, metrics[k]) for k in ('bbox', 'segm') if k in metrics]
        text = ', '.join(f'{k} AP {number(m["AP"])} AP50 {number(m["AP50"])}' for k, m in groups)
        return f'{len(self.rows)} {self.name} images: {text or "nothing to score"}'
