"""What all detectors have in common."""

import numpy as np
import pytest
import torch
from tiny import CLASSES, TINY_DENSE, detector_config

from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.detectors.detector import perturb_style


def statistics(maps):
    return maps.mean(dim=(2, 3)), maps.std(dim=(2, 3))


def test_style_changes_by_random_factors_of_mean_and_contrast_and_nothing_else():
    torch.manual_seed(1)
    maps = torch.rand(3, 500, 6, 7) + 0.5
    changed = perturb_style(maps, 0.25)
    (mean, contrast), (new_mean, new_contrast) = statistics(maps), statistics(changed)
    levels, contrasts = new_mean / mean, new_contrast / contrast
    for factors in (levels, contrasts):  # of each channel of each image
        assert factors.mean() == pytest.approx(1, abs=0.03)
        assert factors.std() == pytest.approx(0.25, abs=0.02)
    assert abs(np.corrcoef(levels.flatten(), contrasts.flatten())[0, 1]) < 0.1
    shape = (maps - mean[..., None, None]) / contrast[..., None, None]
    new_shape = (changed - new_mean[..., None, None]) / new_contrast[..., None, None]
    torch.testing.assert_close(new_shape, shape, atol=1e-3, rtol=1e-3)


def test_style_is_perturbed_in_training_alone():
    torch.manual_seed(0)
    noisy, plain = (
        build_detector(detector_config(style_noise=noise, **TINY_DENSE), CLASSES)
        for noise in (0.25, 0.0)
    )
    noisy.load_state_dict(plain.state_dict())
    image = torch.rand(3, 96, 128)
    target = {'boxes': torch.tensor([[20.0, 20, 70, 60]]), 'labels': torch.tensor([0])}
    noisy.train(), plain.train()
    first, second, without = (
        sum(d([image], [target]).values()).item() for d in (noisy, noisy, plain)
    )
    assert first != second and first != without
    maps, frame = noisy.features(image)
    torch.manual_seed(3)
    from_image = noisy([image], [target])
    torch.manual_seed(3)
    from_maps = noisy.losses_of(maps, frame, [target])
    assert {k: v.item() for k, v in from_maps.items()} == pytest.approx(
        {k: v.item() for k, v in from_image.items()}, rel=1e-4
    )
    noisy.eval(), plain.eval()
    found, expected = noisy.detect([image])[0], plain.detect([image])[0]
    np.testing.assert_array_equal(found.boxes, expected.boxes)
