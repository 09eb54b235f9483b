"""One preprocessing, two implementations: the fast one gives the values of training."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from synth_detect_ros.detectors.detector import to_tensor
from synth_detect_ros.inference.preprocessing import Preprocessing

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.mark.parametrize('shape', [(96, 128), (97, 131), (60, 50), (200, 300), (40, 400), (1, 1)])
def test_values_are_those_of_the_detector(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    transform = GeneralizedRCNNTransform(96, 200, MEAN, STD)
    batch, _ = transform([to_tensor(image, torch.device('cpu'))])
    tensor, size = Preprocessing(MEAN, STD, 96, 200)(image)
    assert size == batch.image_sizes[0]
    torch.testing.assert_close(tensor, batch.tensors, atol=2e-3, rtol=0)


@pytest.mark.parametrize('shape', [(96, 128), (300, 100), (40, 400), (64, 75), (1, 1)])
@pytest.mark.parametrize('divisor', [1, 32])
def test_fixed_size_is_that_of_the_detector(shape, divisor):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    transform = GeneralizedRCNNTransform(
        96, 200, MEAN, STD, size_divisible=divisor, fixed_size=(75, 64)
    )
    batch, _ = transform([to_tensor(image, torch.device('cpu'))])
    tensor, size = Preprocessing(MEAN, STD, 96, 200, (75, 64), divisor)(image)
    assert size == batch.image_sizes[0] == (64, 75)
    torch.testing.assert_close(tensor, batch.tensors, atol=2e-3, rtol=0)


def test_a_view_of_another_image_is_prepared():
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    prepare = Preprocessing(MEAN, STD, 96, 200)
    flipped, _ = prepare(image[:, ::-1])
    torch.testing.assert_close(flipped.flip(3), prepare(image)[0])
