"""Building a detector: what does not fit the memory is refused before it takes any."""

import resource

import pytest
import torch
from tiny import CLASSES, detector_config

from synth_detect_ros.detectors import build
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.errors import ConfigError

# One layer of 69 GB.
HUGE = {'channels': 1024, 'box_head': {'roi_size': 64, 'channels': 4096, 'convs': 0}}


def test_network_larger_than_the_memory_is_refused_before_it_takes_any():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match=r'does not fit the memory: .*box_head\.roi_size'):
        build_detector(detector_config(**HUGE), CLASSES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def test_first_layer_that_does_not_fit_is_named(monkeypatch):
    network = build_detector(detector_config(), CLASSES)
    size = sum(p.nbytes for p in network.parameters())
    monkeypatch.setattr(build, 'available_memory', lambda: 2 * size - 1)
    with pytest.raises(ConfigError, match=r'0\.0 GB up to a Linear of '):
        build_detector(detector_config(), CLASSES)
    # The extractor's own classifier, which is not kept, counts while it is there.
    monkeypatch.setattr(build, 'available_memory', lambda: 100 * size)
    build_detector(detector_config(), CLASSES)
    monkeypatch.setattr(build, 'available_memory', lambda: None)
    build_detector(detector_config(), CLASSES)
    torch.nn.Linear(1000, 1000)  # nothing is counted any more


def test_other_errors_of_building_stay(monkeypatch):
    def broken(*args, **options):
        raise RuntimeError('something else')

    monkeypatch.setitem(build.DETECTORS, 'faster_rcnn', broken)
    with pytest.raises(RuntimeError, match='something else'):
        build_detector(detector_config(), CLASSES)
