"""Capturing over a real graph: what is kept, and what each kind of bad input leads to."""

import re
import resource

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from graph import ROOT, FakeCamera
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from synth_detect_ros.config import SynthesizeConfig
from synth_detect_ros.config.options import read_config
from synth_detect_ros.dataset.backgrounds import (
    BackgroundWriter,
    FrameRecord,
    read_background_set,
)
from synth_detect_ros.dataset.synthesize import synthesize
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.nodes import conversions

pytestmark = pytest.mark.ros
CAMERA = Camera.from_fov(160, 120, 60.0)


def kept(folder):
    return len(list((folder / 'frames').glob('[0-9]*'))) if (folder / 'frames').exists() else 0


def test_good_frames_are_kept_until_there_are_enough(graph, scene, tmp_path):
    out = tmp_path / 'set'
    frames = [scene(0), scene(0), np.full((120, 160, 3), 128, np.uint8), scene(1), scene(2)]
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics')
    node = graph.start('synthesize_node', out=out, count=3, min_interval_s=0)
    FakeCamera(graph, frames, CAMERA)
    graph.until(lambda: not node.running, 'the end of the capture')
    assert node.wait() == 0
    backgrounds = read_background_set(out)
    assert backgrounds.camera == CAMERA
    assert len(backgrounds) == 3
    for i in range(3):
        same = [np.array_equal(backgrounds.read(i), scene(seed)) for seed in range(3)]
        assert sum(same) == 1
    records = (out / 'frames.jsonl').read_text().splitlines()
    assert len(records) == 3 and f'{graph.namespace}/image' in records[0]
    assert '3 frames of 3' in node.output
    assert all(d.status[0].name == f'{graph.namespace}/synthesize_node' for d in diagnostics)


def test_compressed_replay_is_captured(graph, scene, tmp_path):
    source, out = tmp_path / 'source', tmp_path / 'set'
    writer = BackgroundWriter(source, 'png')
    writer.save_camera(CAMERA)
    for seed in range(3):
        writer.add(scene(seed), FrameRecord(0.0, 'topic', 'rgb8', 0.0))
    node = graph.start('synthesize_node', out=out, count=3, min_interval_s=0, compressed=True)
    graph.start('camera_replay_node', source=source, rate_hz=20, loop=True, compressed=True)
    graph.until(lambda: not node.running, 'the end of the capture')
    assert node.wait() == 0
    captured = read_background_set(out)
    assert captured.camera == CAMERA
    for i in range(3):
        difference = [
            np.abs(captured.read(i) - scene(seed).astype(int)).mean() for seed in range(3)
        ]
        assert min(difference) < 6
    assert f'{graph.namespace}/image/compressed' in (out / 'frames.jsonl').read_text()


def test_services_take_a_frame_pause_and_resume(graph, scene, tmp_path):
    out = tmp_path / 'set'
    # Nothing is sharp enough: only the service keeps frames.
    node = graph.start('synthesize_node', out=out, count=3, min_sharpness=1e9)
    early = graph.call(Trigger, 'synthesize_node/capture_now')
    assert not early.success and 'no image' in early.message
    camera = FakeCamera(graph, [scene(i) for i in range(9)], CAMERA)
    graph.until(lambda: camera.sent > 20, 'frames')
    assert kept(out) == 0
    for count in (1, 2):
        answer = graph.call(Trigger, 'synthesize_node/capture_now')
        assert answer.success, answer.message
        assert kept(out) == count
    assert graph.call(Trigger, 'synthesize_node/pause').success
    assert graph.call(Trigger, 'synthesize_node/resume').success
    assert graph.call(Trigger, 'synthesize_node/capture_now').success
    graph.until(lambda: not node.running, 'the end of the capture')
    assert node.wait() == 0


def test_nothing_is_kept_while_paused(graph, scene, tmp_path):
    out = tmp_path / 'set'
    node = graph.start('synthesize_node', out=out, count=1, min_interval_s=0)
    assert graph.call(Trigger, 'synthesize_node/pause').success
    camera = FakeCamera(graph, [scene(0)], CAMERA)
    graph.until(lambda: camera.sent > 20, 'frames')
    assert kept(out) == 0
    assert graph.call(Trigger, 'synthesize_node/resume').success
    graph.until(lambda: not node.running, 'the end of the capture')
    assert kept(out) == 1


def test_full_disk_ends_with_a_message_and_a_restart_goes_on(graph, scene, tmp_path):
    out = tmp_path / 'set'
    noise = np.random.default_rng(0).integers(0, 30, (120, 160, 3), dtype=np.uint8)
    FakeCamera(graph, [scene(i) + noise for i in range(50)], CAMERA)
    node = graph.start('synthesize_node', out=out, count=6, min_interval_s=0.3)
    graph.until(lambda: kept(out) >= 2, 'two frames')
    # No file may grow beyond this: less than a frame, more than the log of the node.
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    graph.until(lambda: not node.running, 'the end of the first run')
    before = kept(out)
    assert node.wait() == 1
    assert 'What was written before is intact' in node.output
    assert 2 <= before < 6
    again = graph.start('synthesize_node', out=out, count=6, min_interval_s=0)
    graph.until(lambda: not again.running, 'the end of the second run')
    assert again.wait() == 0
    assert f'Going on with {before} frames' in again.output
    assert len(read_background_set(out)) == 6
    once_more = graph.start('synthesize_node', out=out, count=6)
    assert once_more.wait() == 0


def uncalibrated(image, info):
    info.k = [0.0] * 9
    return image, info


def other_size(image, info):
    info.width = 320
    return image, info


def unknown_encoding(image, info):
    image.encoding = 'jpeg9'
    return image, info


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (uncalibrated, r'not calibrated \(K\[0\] == 0\).*camera_hfov_deg'),
        (other_size, '160x120 pixels, but .*/camera_info describes 320x120'),
        (unknown_encoding, "'jpeg9' is not known"),
    ],
)
def test_input_that_can_never_work_ends_with_a_message(graph, scene, tmp_path, spoil, message):
    out = tmp_path / 'set'
    FakeCamera(graph, [scene(i) for i in range(9)], CAMERA, spoil=spoil)
    node = graph.start('synthesize_node', out=out, count=2)
    graph.until(lambda: not node.running, 'the end of the capture')
    assert node.wait() == 1
    assert re.search(message, node.output), node.output
    assert 'Traceback' not in node.output
    assert kept(out) == 0


def test_messages_that_contradict_themselves_end_no_capture(graph, scene, tmp_path):
    """Among good ones; what is kept are the good ones alone."""
    out, kinds = tmp_path / 'set', iter(range(1000))

    def spoil(image, info):
        number = next(kinds)
        if number % 2 or number < 20:
            return image, info
        kind = (number // 2) % 6
        if kind == 0:
            image.width = 2**32 - 1
        elif kind == 1:
            image.height = 0
        elif kind == 2:
            image.step = 1
        elif kind == 3:
            image.encoding = ''
        elif kind == 4:
            info.k = [float('nan')] * 9
        else:
            info.width, info.height = 320, 240
        return image, info

    frames = [scene(i) for i in range(200)]
    camera = FakeCamera(graph, frames, CAMERA, spoil=spoil)
    node = graph.start('synthesize_node', out=out, count=1000, min_interval_s=0)
    graph.until(lambda: kept(out) > 3, 'the first frames')
    sent = camera.sent
    graph.until(lambda: camera.sent > sent + 60, 'bad ones among them')
    before = kept(out)
    graph.until(lambda: kept(out) > before + 3, 'more frames')
    assert node.interrupt() == 130
    backgrounds = read_background_set(out)
    assert backgrounds.camera == CAMERA
    assert {backgrounds.read(i).shape for i in range(len(backgrounds))} == {(120, 160, 3)}
    for text in ('needs rows of', "''", 'K is [[nan'):
        assert text in node.output
    assert node.output.count('(said once)') <= 6
    assert re.search(r'Image skipped: \d+, \d+ times: ', node.output)
    assert 'Traceback' not in node.output and 'rosout' not in node.output


def test_another_camera_ends_the_capture_and_the_first_one_goes_on(graph, scene, tmp_path):
    out, sent = tmp_path / 'set', {'camera': CAMERA}

    def spoil(image, info):
        if sent['camera'] == CAMERA:
            return image, info
        return image, conversions.message_from_camera(sent['camera'], info.header)

    FakeCamera(graph, [scene(i) for i in range(200)], CAMERA, spoil=spoil)
    node = graph.start('synthesize_node', out=out, count=1000, min_interval_s=0)
    graph.until(lambda: kept(out) > 3, 'the first frames')
    sent['camera'] = Camera.from_fov(160, 120, 61.0)
    graph.until(lambda: not node.running, 'the end of the capture')
    assert node.wait() == 1
    assert re.search(r'another one .*: fx [\d.]+ in place of', node.output), node.output
    before = kept(out)
    assert len((out / 'frames.jsonl').read_text().splitlines()) == before
    sent['camera'] = CAMERA
    again = graph.start('synthesize_node', out=out, count=before + 2, min_interval_s=0)
    graph.until(lambda: not again.running, 'the end of the second capture')
    assert again.wait() == 0
    assert read_background_set(out).camera == CAMERA and kept(out) == before + 2


def test_field_of_view_stands_in_for_a_calibration(graph, scene, tmp_path):
    out = tmp_path / 'set'
    FakeCamera(graph, [scene(0)], CAMERA, spoil=uncalibrated)
    node = graph.start('synthesize_node', out=out, count=1, camera_hfov_deg=60)
    graph.until(lambda: not node.running, 'the end of the capture')
    assert node.wait() == 0
    assert read_background_set(out).camera == CAMERA


def test_missing_camera_info_and_broken_frames_are_told_and_survived(graph, scene, tmp_path):
    """Half an image may be followed by a whole one; CameraInfo may come late."""
    out, state = tmp_path / 'set', {'half': True, 'info': False}

    def spoil(image, info):
        if state['half']:
            image.data = image.data[: len(image.data) // 2]
        return image, info if state['info'] else None

    FakeCamera(graph, [scene(i) for i in range(9)], CAMERA, spoil=spoil)
    node = graph.start('synthesize_node', out=out, count=2, min_interval_s=0)
    graph.until(lambda: 'incomplete image: 28800 of 57600 bytes' in node.output, 'a warning')
    graph.until(
        lambda: f'no CameraInfo on {graph.namespace}/camera_info' in node.output, 'a warning'
    )
    assert node.running and kept(out) == 0
    state.update(half=False, info=True)
    graph.until(lambda: not node.running, 'the end of the capture')
    assert node.wait() == 0 and kept(out) == 2


def test_interrupted_capture_says_so_by_its_status(graph, tmp_path):
    node = graph.start('synthesize_node', out=tmp_path / 'set', count=2)
    graph.until(lambda: 'no image on' in node.output, 'a warning')
    assert node.interrupt() == 130
    assert 'Traceback' not in node.output


def test_publisher_that_does_not_fit_is_told_in_plain_words(graph, tmp_path):
    graph.node.create_publisher(Image, 'image', qos_profile_sensor_data)
    name = f'qos_overrides.{graph.namespace}/image.subscription.reliability'
    node = graph.start('synthesize_node', out=tmp_path / 'set', **{name: 'reliable'})
    graph.until(lambda: 'does not fit: its reliability offers less' in node.output, 'an error')


def test_rendering_at_once_or_later_gives_the_same_data_set(graph, scene, tmp_path):
    out, config = tmp_path / 'set', tmp_path / 'synthesize.yaml'
    options = {'objects': str(ROOT / 'models' / 'objects.yaml'), 'count': 3, 'workers': 1}
    config.write_text(yaml.safe_dump(options | {'out': str(tmp_path / 'live')}))
    node = graph.start(
        'synthesize_node', out=out, count=2, min_interval_s=0, render=True, synthesize=config
    )
    FakeCamera(graph, [scene(0), scene(1)], CAMERA)
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics')
    graph.until(lambda: not node.running, 'the end of the rendering')
    assert node.wait() == 0, node.output
    assert 'images rendered' in diagnostics[-1].status[0].message

    later = read_config(SynthesizeConfig, config).replace(
        backgrounds=str(out), out=str(tmp_path / 'later')
    )
    synthesize(later)
    for name in ['annotations.json', *(f'images/{i:06d}.jpg' for i in range(3))]:
        assert (tmp_path / 'live' / name).read_bytes() == (tmp_path / 'later' / name).read_bytes()


def test_missing_model_is_told_before_the_capture(graph, tmp_path):
    objects, config = tmp_path / 'objects.yaml', tmp_path / 'synthesize.yaml'
    objects.write_text('objects: [{name: box, mesh: nowhere.obj}]')
    config.write_text(f'objects: {objects}')
    node = graph.start('synthesize_node', out=tmp_path / 'set', render=True, synthesize=config)
    assert node.wait() == 1
    assert 'nowhere.obj' in node.output and 'Traceback' not in node.output


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({}, 'capture needs out: give it'),
        ({'out': 'set', 'count': 0}, 'parameter count'),
        ({'out': 'set', 'render': True}, 'synthesize: render needs a configuration file'),
    ],
)
def test_bad_parameters_end_the_node_at_once(graph, tmp_path, parameters, message):
    if 'out' in parameters:
        parameters['out'] = tmp_path / parameters['out']
    node = graph.start('synthesize_node', **parameters)
    assert node.wait() == 1
    assert message in node.output and 'Traceback' not in node.output
