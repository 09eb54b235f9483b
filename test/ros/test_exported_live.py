"""An exported model in the live node, on a robot that has no torch."""

import json
import os

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from graph import FakeCamera
from networks import spread_scores
from std_msgs.msg import String
from tiny import CLASSES, TINY_DENSE, detector_config

from synth_detect_ros.bundle import save_bundle
from synth_detect_ros.config import ExportModelConfig
from synth_detect_ros.deployment.export_model import export_model
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.inference.exported import ExportedModel
from synth_detect_ros.nodes import conversions

pytest.importorskip('openvino')
pytestmark = pytest.mark.ros
CAMERA = Camera.from_fov(160, 120, 60.0)
THRESHOLD = 0.2


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return an exported model for the camera's images."""
    torch.manual_seed(0)
    tmp = tmp_path_factory.mktemp('exported')
    detector = build_detector(detector_config(score_threshold=0.0, **TINY_DENSE), CLASSES).eval()
    bundle = save_bundle(tmp / 'bundle', spread_scores(detector), {})
    size = {'height': CAMERA.height, 'width': CAMERA.width}
    config = ExportModelConfig(
        model=str(bundle), out=str(tmp / 'model'), format='openvino', count=1, **size
    )
    export_model(config)
    return tmp / 'model'


@pytest.fixture
def no_torch(tmp_path, monkeypatch):
    """Let the import of torch fail in every process that is started."""
    blocked = "raise ImportError('this robot has no torch')\n"
    (tmp_path / 'torch.py').write_text(blocked)
    paths = [str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(paths))


def test_it_detects_live_without_torch_and_names_images_of_another_size(
    graph, scene, folder, no_torch
):
    frames = [scene(seed) for seed in range(3)]
    sent = {'small': False}

    def spoil(image, info):
        if sent['small']:
            small = np.ascontiguousarray(scene(0)[:90])
            image = conversions.image_from_rgb(small, image.header)
        return image, info

    camera = FakeCamera(graph, frames, CAMERA, spoil)
    texts = graph.listen(String, 'detect_node/detections_json')
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics')
    node = graph.start('detect_node', model=folder, publish_json=True, score_threshold=THRESHOLD)
    graph.until(lambda: any(json.loads(text.data) for text in texts), 'detections')

    results = next(r for r in (json.loads(text.data) for text in texts) if r)
    stamps = [stamp.sec * 10**9 + stamp.nanosec for stamp in camera.stamps]
    frame = frames[stamps.index(results[0]['image_id']) % 3]
    expected = ExportedModel(folder).detect(frame, THRESHOLD)
    assert len(expected) > 1
    assert np.allclose([r['score'] for r in results], expected.scores, atol=1e-4)
    assert [r['category_name'] for r in results] == [CLASSES[k] for k in expected.labels]

    sent['small'] = True
    wanted = 'wanted images of 160 x 120 pixels'
    graph.until(
        lambda: diagnostics and wanted in diagnostics[-1].status[0].message, 'a message', 20
    )
    assert diagnostics[-1].status[0].level == b'\x02'
    sent['small'] = False
    graph.until(lambda: diagnostics[-1].status[0].level == b'\x00', 'a good state')
    assert node.interrupt() == 0, node.output
    assert 'Traceback' not in node.output
