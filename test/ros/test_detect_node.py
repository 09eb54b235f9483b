"""Live detection over a real graph, with a tiny network of random weights."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from graph import FakeCamera
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image
from std_msgs.msg import String

from synth_detect_ros.bundle import save_bundle
from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.config.options import build
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.inference.predictor import Predictor
from synth_detect_ros.nodes import conversions, detect_node
from synth_detect_ros.report.overlay import draw_detections

pytestmark = pytest.mark.ros
CAMERA = Camera.from_fov(160, 120, 60.0)
THRESHOLD = 0.2


SMALL = {
    'faster_rcnn': {'channels': 8, 'box_head': {'convs': 1, 'channels': 16}},
    'mask_rcnn': {'channels': 8, 'box_head': {'convs': 1, 'channels': 16}},
    'rfcn': {'box_head': {'channels': 16}},
    'ssd': {'fixed_size': (96, 64), 'convs': 0, 'extra_channels': (32,)},
    'dense': {'channels': 8, 'convs': 0, 'masks': True},
}
ONE_STAGE = ('ssd', 'dense')


def write_small_bundle(architecture, folder):
    """Write a bundle whose network is as small as it gets."""
    torch.manual_seed(0)
    options = dict(architecture=architecture, weights='none', min_side=64, score_threshold=0.0)
    if architecture not in ONE_STAGE:
        options['rpn'] = {'proposals': 20}
    config = build(DetectorConfig, {**options, **SMALL[architecture]})
    detector = build_detector(config, ['box', 'cube'], load_weights=False)
    if architecture == 'dense':  # which first scores everything near 0.01
        torch.nn.init.normal_(detector.head.logits.bias)
        torch.nn.init.normal_(detector.head.logits.weight)
    return save_bundle(folder / 'bundle', detector, {})


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    """Return a bundle with masks."""
    return write_small_bundle('mask_rcnn', tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def one_stage(tmp_path_factory):
    """Return a bundle of SSD."""
    return write_small_bundle('ssd', tmp_path_factory.mktemp('model'))


def value(diagnostics, key):
    """Return the latest value of a key on /diagnostics, None when it is not there yet."""
    values = {v.key: v.value for v in diagnostics[-1].status[0].values} if diagnostics else {}
    return float(values[key]) if key in values else None


def message(diagnostics):
    """Return the latest line for people on /diagnostics."""
    return diagnostics[-1].status[0].message if diagnostics else ''


def test_live_detections_are_those_of_the_library(graph, scene, bundle):
    frames = [scene(seed) for seed in range(3)]
    camera = FakeCamera(graph, frames, CAMERA)
    texts = graph.listen(String, 'detect_node/detections_json')
    masks = graph.listen(Image, 'detect_node/masks')
    overlays = graph.listen(Image, 'detect_node/overlay')
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics')
    node = graph.start(
        'detect_node', model=bundle, publish_json=True, score_threshold=THRESHOLD, device='cpu'
    )
    graph.until(lambda: len(texts) > 3 and masks and overlays, 'detections')
    graph.until(lambda: value(diagnostics, 'age_ms_p95') is not None, 'diagnostics')

    overlay = overlays[0]
    stamp = overlay.header.stamp
    assert overlay.header.frame_id == 'optical'
    assert stamp in camera.stamps
    frame = frames[camera.stamps.index(stamp) % 3]
    predictor = Predictor(bundle, 'cpu')
    expected = predictor.detect(frame, THRESHOLD)
    assert len(expected) > 1
    pixels = np.frombuffer(overlay.data, np.uint8).reshape(120, 160, 3)
    assert np.array_equal(pixels, draw_detections(frame, expected, predictor.classes))

    time_ns = stamp.sec * 10**9 + stamp.nanosec
    results = next(r for r in (json.loads(t.data) for t in texts) if r[0]['image_id'] == time_ns)
    assert [r['category_name'] for r in results] == [
        predictor.classes[label] for label in expected.labels
    ]
    assert np.allclose([r['score'] for r in results], expected.scores, atol=1e-4)

    labels = next(m for m in masks if m.header.stamp == stamp)
    assert labels.encoding == '16UC1'
    ids = np.frombuffer(labels.data, np.uint16).reshape(120, 160)
    assert np.array_equal(ids == 1, expected.masks[0])
    assert value(diagnostics, 'broken') == 0
    assert value(diagnostics, 'inference_ms') > 0
    assert node.interrupt() == 0, node.output
    assert 'Traceback' not in node.output


def set_parameter(graph, name, value):
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    return graph.call(SetParameters, 'detect_node/set_parameters', request).results[0]


def set_threshold(graph, number):
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=number)
    return set_parameter(graph, 'score_threshold', value)


def set_proposals(graph, count):
    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=count)
    return set_parameter(graph, 'proposals', value)


@pytest.mark.parametrize('architecture', ['faster_rcnn', 'rfcn', 'ssd', 'dense'])
def test_other_detectors_run_live_too(graph, scene, architecture, tmp_path):
    model = write_small_bundle(architecture, tmp_path)
    frames = [scene(seed) for seed in range(3)]
    camera = FakeCamera(graph, frames, CAMERA)
    texts = graph.listen(String, 'detect_node/detections_json')
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics')
    node = graph.start(
        'detect_node', model=model, publish_json=True, score_threshold=THRESHOLD, device='cpu'
    )
    graph.until(lambda: any(json.loads(text.data) for text in texts), 'detections')
    graph.until(lambda: value(diagnostics, 'inference_ms') is not None, 'diagnostics')

    results = next(r for r in (json.loads(text.data) for text in texts) if r)
    stamps = [stamp.sec * 10**9 + stamp.nanosec for stamp in camera.stamps]
    frame = frames[stamps.index(results[0]['image_id']) % 3]
    expected = Predictor(model, 'cpu').detect(frame, THRESHOLD)
    assert len(expected) > 1
    assert np.allclose([r['score'] for r in results], expected.scores, atol=1e-4)
    corners = np.array([r['bbox'] for r in results])
    assert np.allclose(corners[:, :2], expected.boxes[:, :2], atol=0.05)
    assert value(diagnostics, 'broken') == 0

    answer = set_proposals(graph, 5)
    assert answer.successful == (architecture not in ONE_STAGE)
    assert answer.successful or 'has one stage' in answer.reason
    assert set_proposals(graph, 0).successful
    assert node.interrupt() == 0, node.output
    assert 'Traceback' not in node.output


def test_proposals_for_a_detector_of_one_stage_end_the_node(capfd, one_stage):
    arguments = ['-p', f'model:={one_stage}', '-p', 'device:=cpu', '-p', 'proposals:=5']
    assert detect_node.main(['--ros-args', *arguments]) == 1
    assert re.search('Not configured: proposals: 5 .*has one stage', capfd.readouterr().err)


def change(graph, transition):
    request = ChangeState.Request(transition=Transition(id=transition))
    return graph.call(ChangeState, 'detect_node/change_state', request).success


def state(graph):
    return graph.call(GetState, 'detect_node/get_state').current_state.label


def test_every_transition_and_a_live_change_of_the_threshold(graph, scene, bundle):
    FakeCamera(graph, [scene(0)], CAMERA)
    texts = graph.listen(String, 'detect_node/detections_json')
    node = graph.start(
        'detect_node', model=bundle, publish_json=True, autostart=False, device='cpu',
        score_threshold=THRESHOLD,
    )  # fmt: skip
    assert state(graph) == 'unconfigured'
    assert not change(graph, Transition.TRANSITION_ACTIVATE)
    for _ in range(2):
        assert change(graph, Transition.TRANSITION_CONFIGURE)
        assert state(graph) == 'inactive'
        texts.clear()
        graph.spin(0.5)
        assert not texts
        assert change(graph, Transition.TRANSITION_ACTIVATE)
        graph.until(lambda: texts, 'detections')
        assert state(graph) == 'active'
        assert change(graph, Transition.TRANSITION_DEACTIVATE)
        assert change(graph, Transition.TRANSITION_CLEANUP)
        assert state(graph) == 'unconfigured'

    assert change(graph, Transition.TRANSITION_CONFIGURE)
    assert change(graph, Transition.TRANSITION_ACTIVATE)
    graph.until(lambda: texts and json.loads(texts[-1].data), 'detections')
    refused = set_threshold(graph, 1.5)
    assert not refused.successful and 'score_threshold' in refused.reason
    assert set_threshold(graph, 1.0).successful
    graph.until(lambda: texts and not json.loads(texts[-1].data), 'no detections')
    assert change(graph, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert state(graph) == 'finalized'
    assert node.interrupt() == 0, node.output


def test_frames_that_cannot_be_used_are_skipped_and_reported(graph, scene, bundle):
    kind = {'spoil': 'stamp'}

    def spoil(image, info):
        if kind['spoil'] == 'stamp':
            image.header.stamp.sec = 0
        elif kind['spoil'] == 'half':
            image.data = image.data[:100]
        elif kind['spoil'] == 'encoding':
            image.encoding = 'jpeg9'
        return image, info

    FakeCamera(graph, [scene(0)], CAMERA, spoil=spoil)
    overlays = graph.listen(Image, 'detect_node/overlay')
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics')
    node = graph.start('detect_node', model=bundle, device='cpu')
    graph.until(lambda: 'Age left out of /diagnostics' in node.output, 'a notice')
    for spoiled, text in (('half', 'incomplete image'), ('encoding', "'jpeg9' is not known")):
        kind['spoil'] = spoiled
        overlays.clear()
        graph.until(lambda text=text: text in message(diagnostics), text)
        assert diagnostics[-1].status[0].level == b'\x02'
    assert 'Image skipped: incomplete image' in node.output
    assert not overlays
    kind['spoil'] = ''
    graph.until(lambda: overlays, 'detections')
    graph.until(lambda: diagnostics[-1].status[0].level == b'\x00', 'a good state')
    assert value(diagnostics, 'broken') > 0
    assert node.output.count('Image skipped: incomplete image') == 1
    assert 'Detection failed' not in node.output
    assert node.interrupt() == 0, node.output
    assert re.search(r'Image skipped: \d+, \d+ times: ', node.output)


def test_another_camera_is_told_and_detection_goes_on(graph, scene, bundle):
    small = np.ascontiguousarray(scene(0)[:90])
    sent = {'small': False}

    def spoil(image, info):
        if sent['small']:
            image = conversions.image_from_rgb(small, image.header)
            image.header.frame_id = 'left'
        return image, info

    FakeCamera(graph, [scene(0)], CAMERA, spoil=spoil)
    overlays = graph.listen(Image, 'detect_node/overlay')
    node = graph.start('detect_node', model=bundle, device='cpu')
    graph.until(lambda: len(overlays) > 5, 'detections')
    sent['small'] = True
    graph.until(lambda: 'another camera' in node.output, 'a notice')
    topic, left = f'{graph.namespace}/image', "160x90 rgb8 of frame 'left'"
    assert (
        f"Images on {topic} are {left} now, 160x120 rgb8 of frame 'optical' before" in node.output
    )
    overlays.clear()
    graph.until(lambda: overlays, 'detections')
    assert (overlays[-1].height, overlays[-1].header.frame_id) == (90, 'left')


def test_stamps_of_no_clock_are_passed_on_and_their_age_is_left_out(graph, scene, bundle):
    stamps = {'now': (0, 0)}

    def spoil(image, info):
        if stamps['now']:
            image.header.stamp.sec, image.header.stamp.nanosec = stamps['now']
        return image, info

    FakeCamera(graph, [scene(0)], CAMERA, spoil=spoil)
    texts = graph.listen(String, 'detect_node/detections_json')
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics')
    node = graph.start(
        'detect_node', model=bundle, publish_json=True, device='cpu', score_threshold=THRESHOLD
    )

    def stamped(sec, nanosec):
        return any(json.loads(t.data)[0]['image_id'] == sec * 10**9 + nanosec for t in texts)

    for stamp, reason in (
        ((0, 0), 'have no stamp'),
        ((-1, 0), 'no times'),
        ((2**31 - 1, 5), 'in the future'),
        ((10**9, 0), 'in the past'),
        ((10**9, 2**32 - 1), 'no times'),
    ):
        stamps['now'] = stamp
        graph.until(lambda stamp=stamp: stamped(*stamp), f'detections of {stamp}')
        graph.until(lambda reason=reason: reason in node.output, reason)
    graph.until(lambda: value(diagnostics, 'ageless'), 'diagnostics')
    assert value(diagnostics, 'age_ms') is None
    assert value(diagnostics, 'inference_ms') > 0
    assert message(diagnostics) == 'detecting'
    stamps['now'] = None
    graph.until(lambda: value(diagnostics, 'age_ms_max') is not None, 'an age')
    assert 0 < value(diagnostics, 'age_ms_max') < 60_000
    assert node.output.count('Age left out of /diagnostics: images have no stamp') == 1
    assert 'Detection failed' not in node.output


def test_truncated_bundle_ends_the_node_with_a_message(capfd, tmp_path, bundle):
    broken = tmp_path / 'broken'
    shutil.copytree(bundle, broken)
    weights = (broken / 'weights.safetensors').read_bytes()
    (broken / 'weights.safetensors').write_bytes(weights[: len(weights) // 2])
    assert detect_node.main(['--ros-args', '-p', f'model:={broken}', '-p', 'device:=cpu']) == 1
    assert re.search(f'Not configured: {broken}.*truncated', capfd.readouterr().err)


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        (['model:=nowhere'], 'Not configured: .*nowhere: no trained model here'),
        (['device:=cpu'], 'Not configured: detect needs model: give it'),
        (['model:=nowhere', 'device:=tpu'], "device: 'tpu' is not known"),
        (['score_threshold:=2.0'], 'parameter score_threshold'),
    ],
)
def test_bad_parameters_end_the_node_at_once(capfd, parameters, message):
    arguments = [word for parameter in parameters for word in ('-p', parameter)]
    assert detect_node.main(['--ros-args', *arguments]) == 1
    assert re.search(message, capfd.readouterr().err)
