"""The graph that is exported finds what the predictor finds, traced with another image."""

import warnings

import numpy as np
import pytest
import torch
from networks import spread_scores
from tiny import CLASSES, TINY_DENSE, TINY_SSD, detector_config

from synth_detect_ros.bundle import save_bundle
from synth_detect_ros.deployment.graph import DetectionGraph
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.geometry.masks import paste_masks
from synth_detect_ros.inference.predictor import Predictor

NETWORKS = {
    'dense': TINY_DENSE,
    'masks': {**TINY_DENSE, 'masks': True, 'candidates': 7, 'finest_stride': 16},
    'fixed': {**TINY_DENSE, 'masks': True, 'fixed_size': [150, 70]},
    'ssd': TINY_SSD,
    'ssd fixed': {**TINY_SSD, 'fixed_size': [100, 90], 'candidates': 30, 'max_detections': 9},
}
SIZES = [(96, 128), (97, 140)]


@pytest.fixture(scope='module', params=NETWORKS)
def network(request, tmp_path_factory):
    """Return a detector and its predictor."""
    torch.manual_seed(0)
    config = detector_config(score_threshold=0.0, **NETWORKS[request.param])
    detector = spread_scores(build_detector(config, CLASSES).eval())
    bundle = save_bundle(tmp_path_factory.mktemp('network') / 'bundle', detector, {})
    return detector, Predictor(bundle, 'cpu', 1, 'torch')


def traced(detector, size, threshold, example=None):
    """Return the graph and its trace with an image, by default a black one."""
    graph = DetectionGraph(detector, size, threshold).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        image = np.zeros((*size, 3), np.uint8) if example is None else example
        graph(torch.from_numpy(image[None]))
        trace = torch.jit.trace(graph, torch.from_numpy(image[None]), check_trace=False)
    return graph, trace


def noise(seed, size):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return image // (seed + 1)


@pytest.mark.parametrize('size', SIZES)
def test_traced_graph_finds_what_the_predictor_finds(network, size):
    detector, predictor = network
    graph, trace = traced(detector, size, 0.0)
    for seed in range(3):
        image = noise(seed, size)
        wanted = predictor.detect(image)
        assert len(wanted)
        with torch.no_grad():
            found = [t.numpy() for t in trace(torch.from_numpy(image[None]))]
        boxes, scores, labels = found[:3]
        assert len(found) == len(graph.names)
        assert labels.dtype == np.int64 and np.array_equal(labels, wanted.labels)
        np.testing.assert_allclose(boxes, wanted.boxes, atol=1e-2)
        np.testing.assert_allclose(scores, wanted.scores, atol=1e-3)
        assert ('masks' in graph.names) == (wanted.masks is not None)
        if wanted.masks is not None:
            masks = paste_masks(found[3], boxes.astype(np.float64), *size)
            assert (masks == wanted.masks).mean() > 0.999


def test_a_graph_that_was_traced_with_nothing_found_finds_something_and_back(network):
    detector, predictor = network
    size = SIZES[1]
    images = sorted(
        (np.zeros((*size, 3), np.uint8), noise(0, size)),
        key=lambda image: predictor.detect(image).scores[0],
    )
    threshold = float(np.mean([predictor.detect(image).scores[0] for image in images]))
    graph, trace = traced(detector, size, threshold, images[0])
    with torch.no_grad():
        empty, full = (trace(torch.from_numpy(image[None])) for image in images)
    assert [len(t) for t in empty] == [0] * len(graph.names)
    assert [t.shape[1:] for t in empty] == [t.shape[1:] for t in full]
    assert len(full[0]) == len(predictor.detect(images[1], threshold)) > 0


def test_graph_finds_nothing_of_no_candidates(network):
    graph, trace = traced(network[0], SIZES[0], 1.0)
    found = trace(torch.from_numpy(noise(0, SIZES[0])[None]))
    assert [len(t) for t in found] == [0] * len(graph.names)
