"""Recordings of every kind, and the node that plays them over a real graph."""

import os

import bag_files
import cv2
import numpy as np
import pytest
import yaml
from bag_files import Messages
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from synth_detect_ros.config import ReplayConfig
from synth_detect_ros.errors import BackgroundError, ConfigError, GeometryError
from synth_detect_ros.files import decode_image, encode_image, write_atomic
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.nodes import conversions
from synth_detect_ros.nodes.recordings import fit, open_recording

pytestmark = pytest.mark.ros
CAMERA = Camera(160, 120, [[150, 0, 79], [0, 151, 60], [0, 0, 1]], [0.1, 0, 0, 0, 0])


def play(source, **options):
    return list(open_recording(ReplayConfig(source=str(source), **options)).frames())


def write_bag(path, frames, kind='db3', cut=(), **topics):
    """Write frames as /cam/image_raw (bgr8) with CameraInfo, and more topics by name."""
    make = Messages(kind.startswith('ros1'))
    images = [
        make.image(
            i, frame[..., ::-1], 'bgr8', **({'data': frame.reshape(-1)[:9]} if i in cut else {})
        )
        for i, frame in enumerate(frames)
    ]
    sent = {
        '/cam/image_raw': images,
        '/cam/camera_info': [make.info(i, CAMERA) for i in range(len(frames))],
        **{f'/{name.replace("__", "/")}': messages for name, messages in topics.items()},
    }
    return bag_files.write_bag(path, {k: v for k, v in sent.items() if v}, kind, messages=make)


@pytest.fixture
def frames(scene):
    return [scene(seed) for seed in range(4)]


@pytest.fixture
def folder(tmp_path, frames):
    """Return a folder of images whose camera.yaml lies beside it."""
    (tmp_path / 'data' / 'images').mkdir(parents=True)
    for i, frame in enumerate(frames):
        write_atomic(tmp_path / 'data' / 'images' / f'{i}.png', encode_image(frame, 'png'))
    text = yaml.safe_dump(CAMERA.to_calibration())
    (tmp_path / 'data' / 'camera.yaml').write_text(text)
    return tmp_path / 'data' / 'images'


def test_folder_plays_in_order_again_and_again(folder, frames):
    recording = open_recording(ReplayConfig(source=str(folder)))
    assert recording.camera == CAMERA
    for _ in range(2):
        assert np.array_equal(list(recording.frames()), frames)


@pytest.mark.parametrize('kind', bag_files.KINDS)
def test_bag_plays_images_and_intrinsics(tmp_path, frames, kind):
    path = write_bag(tmp_path / 'recording', frames, kind)
    recording = open_recording(ReplayConfig(source=str(path)))
    assert recording.camera == CAMERA
    for _ in range(2):
        assert np.array_equal(list(recording.frames()), frames)
    assert len(play(path, topic='/cam/image_raw')) == 4
    with pytest.raises(ConfigError, match=r'it has /cam/image_raw \(bgr8\)'):
        play(path, topic='/other')


@pytest.mark.parametrize('kind', ['mcap', 'db3'])
def test_bag_of_a_recorder_that_lost_power_plays(tmp_path, frames, kind):
    path = write_bag(tmp_path / 'recording', frames, kind)
    (path / 'metadata.yaml').unlink()
    file = path / f'recording.{kind}'
    assert np.array_equal(play(path), frames) and np.array_equal(play(file), frames)
    content = file.read_bytes()
    file.write_bytes(content[: int(0.7 * len(content))])
    played = play(file)
    assert len(played) >= 2 and np.array_equal(played, frames[: len(played)])


def test_images_beside_a_bag_are_what_is_meant(tmp_path, folder, frames):
    path = write_bag(tmp_path / 'recording', frames[:2], 'ros1')
    path.rename(folder / 'recording.bag')
    assert np.array_equal(play(folder), frames)
    assert np.array_equal(play(folder / 'recording.bag'), frames[:2])


def test_broken_image_in_a_bag_is_left_out(tmp_path, frames, caplog):
    make = Messages()
    path = write_bag(tmp_path / 'recording', frames, cut=[1])
    assert np.array_equal(play(path), [frames[0], frames[2], frames[3]])
    assert 'incomplete image' in caplog.text
    odd = make.image(9, frames[0], 'rgb9')
    path = bag_files.write_bag(
        tmp_path / 'odd', {'/cam/image': [make.image(0, frames[0]), odd, make.image(2, frames[2])]}
    )
    assert np.array_equal(play(path), [frames[0], frames[2]])
    assert "'rgb9' is not known" in caplog.text


def test_depth_that_comes_first_is_not_the_camera(tmp_path, frames):
    depth = [Messages().image(i, np.full((120, 160), 900, np.uint16), '16UC1') for i in range(3)]
    path = write_bag(tmp_path / 'recording', frames, aligned__image_raw=depth)
    recording = open_recording(ReplayConfig(source=str(path)))
    assert np.array_equal(list(recording.frames()), frames) and recording.camera == CAMERA


@pytest.mark.parametrize('infos', ['none', 'empty', 'zeros first', 'zeros'])
def test_intrinsics_that_come_late_or_never(tmp_path, frames, infos):
    make = Messages()
    zeros = [make.info(0, CAMERA, k=np.zeros(9))] * 3
    sent = {'zeros first': [*zeros, make.info(4, CAMERA)], 'zeros': zeros}.get(infos)
    empty = {'/cam/camera_info': 'sensor_msgs/msg/CameraInfo'} if infos == 'empty' else {}
    topics = {'/cam/image': [make.image(i, frame) for i, frame in enumerate(frames)]}
    path = bag_files.write_bag(
        tmp_path / 'bag', topics | ({'/cam/camera_info': sent} if sent else {}), empty=empty
    )
    recording = open_recording(ReplayConfig(source=str(path)))
    assert recording.camera == (CAMERA if infos == 'zeros first' else None)
    assert np.array_equal(list(recording.frames()), frames)
    other = Camera.from_fov(160, 120, 50)
    (tmp_path / 'other.yaml').write_text(yaml.safe_dump(other.to_calibration()))
    for option in ({'camera': str(tmp_path / 'other.yaml')}, {'camera_hfov_deg': 50.0}):
        assert open_recording(ReplayConfig(source=str(path), **option)).camera == other


@pytest.mark.parametrize(
    ('size', 'change'),
    [
        ((640, 480), {}),  # resized behind the driver, whose CameraInfo stayed
        ((320, 240), dict(binning_x=2, binning_y=2)),
        ((400, 300), dict(roi=(40, 60, 160, 120))),
    ],
    ids=['resized', 'binned', 'region'],
)
def test_intrinsics_in_a_bag_are_of_its_images(tmp_path, frames, size, change):
    make, full = Messages(), Camera(*size, [[300, 0, 151], [0, 303, 120], [0, 0, 1]])
    info, camera = make.info(0, full), full.resized(160, 120)
    for name, value in change.items():
        if name == 'roi':
            info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = value
            camera = full.cropped(*value)
        else:
            setattr(info, name, value)
    images = [make.image(i, frame) for i, frame in enumerate(frames)]
    path = bag_files.write_bag(tmp_path / 'b', {'/cam/image': images, '/cam/camera_info': [info]})
    found = open_recording(ReplayConfig(source=str(path))).camera
    assert found.size == (160, 120)
    np.testing.assert_allclose(found.K, camera.K)


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('bits', [0, 12])
def test_12_bits_in_16_stay_as_bright_as_they_are(tmp_path, bits, compressed):
    """The first image is the darkest: all are scaled as the brightest wants it."""
    greys = [np.full((8, 8), value, np.uint16) for value in (400, 2048, 4095)]
    make = Messages()
    if compressed:
        pngs = [cv2.imencode('.png', grey)[1].tobytes() for grey in greys]
        images = [make.compressed(i, png, 'mono16; png compressed ') for i, png in enumerate(pngs)]
    else:
        images = [make.image(i, grey, 'mono16') for i, grey in enumerate(greys)]
    path = bag_files.write_bag(tmp_path / 'bag', {'/cam/image': images})
    for _ in range(2):
        assert [int(frame[0, 0, 0]) for frame in play(path, bits=bits)] == [25, 128, 255]
    full = [int(frame[0, 0, 0]) for frame in play(path, bits=16)]
    assert full == ([1, 8, 15] if compressed else [2, 8, 16])


def test_impossible_intrinsics_in_a_bag_are_refused_unless_others_are_given(tmp_path, frames):
    make = Messages()
    info = make.info(0, CAMERA, k=np.full(9, np.nan))
    topics = {'/cam/image': [make.image(0, frames[0])], '/cam/camera_info': [info]}
    path = bag_files.write_bag(tmp_path / 'bag', topics)
    with pytest.raises(GeometryError, match=r'/cam/camera_info: .* as camera_hfov_deg'):
        play(path)
    assert np.array_equal(play(path, camera_hfov_deg=50.0), frames[:1])


def test_padded_jpegs_in_a_bag_play(tmp_path, frames):
    make, jpegs = Messages(), [encode_image(frame, 'jpg') for frame in frames]
    padded = [make.compressed(i, jpeg.ljust(57600, b'\0')) for i, jpeg in enumerate(jpegs)]
    path = bag_files.write_bag(tmp_path / 'bag', {'/cam/image_raw/compressed': padded})
    assert np.array_equal(play(path), [decode_image(jpeg) for jpeg in jpegs])


def test_video_plays(tmp_path, frames):
    path = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (160, 120))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    played = play(path)
    assert len(played) == 4
    for got, frame in zip(played, frames, strict=True):
        assert np.abs(got.astype(int) - frame).mean() < 10
    assert open_recording(ReplayConfig(source=str(path))).camera is None


def test_given_calibration_counts(tmp_path, folder):
    other = Camera.from_fov(160, 120, 50)
    (tmp_path / 'other.yaml').write_text(yaml.safe_dump(other.to_calibration()))
    config = ReplayConfig(source=str(folder), camera=str(tmp_path / 'other.yaml'))
    assert open_recording(config).camera == other


@pytest.mark.parametrize('beside', ['[', 'uncalibrated'])
def test_given_camera_counts_whatever_lies_beside(folder, beside):
    zero = CAMERA.to_calibration() | {'camera_matrix': {'data': [0.0] * 9}}
    text = yaml.safe_dump(zero) if beside == 'uncalibrated' else beside
    (folder.parent / 'camera.yaml').write_text(text)
    with pytest.raises(GeometryError, match=r'camera\.yaml'):
        play(folder)
    other = Camera.from_fov(160, 120, 50)
    (folder.parent / 'other.yaml').write_text(yaml.safe_dump(other.to_calibration()))
    for option in ({'camera': str(folder.parent / 'other.yaml')}, {'camera_hfov_deg': 50.0}):
        assert open_recording(ReplayConfig(source=str(folder), **option)).camera == other


def test_camera_is_scaled_to_the_images_or_refused(tmp_path, folder, frames, caplog):
    (tmp_path / 'large.yaml').write_text(yaml.safe_dump(CAMERA.resized(640, 480).to_calibration()))
    recording = open_recording(
        ReplayConfig(source=str(folder), camera=str(tmp_path / 'large.yaml'))
    )
    assert recording.camera.size == (160, 120)
    np.testing.assert_allclose(recording.camera.K, CAMERA.K)
    assert np.array_equal(list(recording.frames()), frames)
    assert 'its intrinsics are scaled' in caplog.text
    wide = Camera.from_fov(1280, 720, 60)
    (tmp_path / 'wide.yaml').write_text(yaml.safe_dump(wide.to_calibration()))
    with pytest.raises(GeometryError, match=r'wide\.yaml: .*1280x720, another ratio.*fit:=true'):
        play(folder, camera=str(tmp_path / 'wide.yaml'))


def test_image_of_another_size_than_the_camera_is_left_out(folder, frames, caplog):
    other = np.zeros((50, 50, 3), np.uint8)
    write_atomic(folder / '1.png', encode_image(other, 'png'))
    assert np.array_equal(play(folder), [frames[0], frames[2], frames[3]])
    assert 'image left out: it has 50x50 pixels, the camera 160x120' in caplog.text


@pytest.mark.parametrize('name', ['video.avi', 'bag.mcap', 'folder'])
def test_pipes_and_devices_are_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match=f'{name} is no folder and no regular file'):
        open_recording(ReplayConfig(source=str(tmp_path / name)))
    (tmp_path / f'zero_{name}').symlink_to('/dev/zero')
    with pytest.raises(ConfigError, match=f'{name} is no folder and no regular file'):
        open_recording(ReplayConfig(source=str(tmp_path / f'zero_{name}')))


def test_sources_that_cannot_be_played_are_refused(tmp_path):
    with pytest.raises(ConfigError, match='does not exist'):
        play('')
    with pytest.raises(ConfigError, match='does not exist'):
        play(tmp_path / 'nothing')
    with pytest.raises(BackgroundError, match='no images'):
        play(tmp_path)
    (tmp_path / 'notes.txt').write_text('')
    with pytest.raises(ConfigError, match='no folder, no bag and no video'):
        play(tmp_path / 'notes.txt')
    (tmp_path / 'broken.bag').write_bytes(b'#ROSBAG V2.0\nnothing')
    with pytest.raises(ConfigError, match='cannot be read as a bag'):
        play(tmp_path / 'broken.bag')


def test_node_waits_plays_everything_once_and_ends(graph, folder, frames):
    node = graph.start('camera_replay_node', source=folder, rate_hz=50, compressed=True)
    graph.until(lambda: 'Waiting for a subscriber' in node.output, 'the node')
    infos = graph.listen(CameraInfo, 'camera_info')
    compressed = graph.listen(CompressedImage, 'image/compressed')
    images = graph.listen(Image, 'image')
    graph.until(lambda: not node.running, 'the end of the replay')
    assert node.wait() == 0
    graph.until(lambda: len(images) >= 3 and infos and compressed, 'the last images')
    assert [m.header.stamp.sec > 0 for m in images]
    assert np.array_equal(conversions.rgb_from_message(images[-1]), frames[-1])
    assert conversions.camera_from_message(infos[-1], rectified=False) == CAMERA
    assert images[-1].header == compressed[-1].header
    assert 'All 4 images published' in node.output


def test_node_loops_and_ends_with_an_interrupt(graph, folder):
    images = graph.listen(Image, 'image')
    node = graph.start(
        'camera_replay_node', source=folder, rate_hz=50, loop=True, encoding='mono8'
    )
    graph.until(lambda: len(images) > 10, 'more images than there are')
    assert images[0].encoding == 'mono8'
    assert node.interrupt() == 0


def test_source_that_cannot_be_played_ends_the_node(graph, tmp_path):
    node = graph.start('camera_replay_node', source=tmp_path)
    assert node.wait() == 1
    assert 'no images' in node.output and 'Traceback' not in node.output


def test_recording_without_an_image_ends_the_node(graph, tmp_path):
    (tmp_path / 'empty.avi').write_bytes(b'')
    node = graph.start(
        'camera_replay_node', source=tmp_path / 'empty.avi', wait_for_subscriber=False
    )
    assert node.wait() == 1
    assert 'holds no image' in node.output and 'uncalibrated CameraInfo' in node.output


@pytest.mark.parametrize(
    'size', [(160, 120), (320, 240), (80, 60), (400, 130), (161, 900), (9, 7)]
)
def test_photographs_of_any_size_are_cut_to_the_camera(size):
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 :, :, 0] = 200
    image[:, width // 2 :, 1] = 200
    fitted = fit(image, 160, 120)
    assert fitted.shape == (120, 160, 3)
    assert fitted[10, 10].tolist() == [0, 0, 0]
    assert fitted[110, 150].tolist() == [200, 200, 0]


def test_image_of_the_right_size_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    np.testing.assert_array_equal(fit(image, 160, 120), image)


def test_folder_of_photographs_plays_as_a_camera(tmp_path):
    for number, size in enumerate([(90, 200), (600, 80)]):
        image = np.full((size[1], size[0], 3), 50 + number, np.uint8)
        write_atomic(tmp_path / f'{number}.png', encode_image(image, 'png'))
    (tmp_path / 'camera.yaml').write_text(yaml.safe_dump(CAMERA.to_calibration()))
    frames = play(tmp_path, fit=True)
    assert [frame.shape for frame in frames] == 2 * [(120, 160, 3)]
    assert [int(frame.mean()) for frame in frames] == [50, 51]


def test_fitting_needs_a_calibration(tmp_path):
    write_atomic(tmp_path / '0.png', encode_image(np.zeros((9, 9, 3), np.uint8), 'png'))
    with pytest.raises(ConfigError, match='fit: wanted a calibration'):
        play(tmp_path, fit=True)
