"""Recordings of every kind, and the node that plays them over a real graph."""

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from synth_detect_ros.config import ReplayConfig
from synth_detect_ros.errors import BackgroundError, ConfigError, GeometryError
from synth_detect_ros.files import encode_image, write_atomic
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.nodes import conversions
from synth_detect_ros.nodes.recordings import fit, open_recording

pytestmark = pytest.mark.ros
CAMERA = Camera(160, 120, [[150, 0, 79], [0, 151, 60], [0, 0, 1]], [0.1, 0, 0, 0, 0])


def play(source, **options):
    return list(open_recording(ReplayConfig(source=str(source), **options)).frames())


def write_bag(path, frames, version, cut=()):
    """Write frames as /cam/image_raw (bgr8) with CameraInfo, with rosbags' own message types."""
    store = get_typestore(Stores.ROS1_NOETIC if version == 1 else Stores.ROS2_HUMBLE)
    types, first = store.types, {'seq': 0} if version == 1 else {}
    names = ('d', 'k', 'r', 'p') if version == 2 else ('D', 'K', 'R', 'P')
    roi = types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    matrices = (
        CAMERA.D, CAMERA.K.reshape(-1), np.eye(3).reshape(-1),
        np.hstack([CAMERA.K, np.zeros((3, 1))]).reshape(-1),
    )  # fmt: skip
    serialize = store.serialize_ros1 if version == 1 else store.serialize_cdr
    with Writer1(path) if version == 1 else Writer2(path, version=8) as writer:
        topics = {
            name: writer.add_connection(f'/cam/{name}', f'sensor_msgs/msg/{kind}', typestore=store)
            for name, kind in (('image_raw', 'Image'), ('camera_info', 'CameraInfo'))
        }
        for i, frame in enumerate(frames):
            stamp = types['builtin_interfaces/msg/Time'](sec=i, nanosec=0)
            header = types['std_msgs/msg/Header'](**first, stamp=stamp, frame_id='optical')
            data = np.ascontiguousarray(frame[..., ::-1]).reshape(-1)
            image = types['sensor_msgs/msg/Image'](
                header=header, height=120, width=160, encoding='bgr8', is_bigendian=0, step=480,
                data=data[:100] if i in cut else data,
            )  # fmt: skip
            info = types['sensor_msgs/msg/CameraInfo'](
                header=header, height=120, width=160, distortion_model='plumb_bob',
                binning_x=0, binning_y=0, roi=roi, **dict(zip(names, matrices, strict=True)),
            )  # fmt: skip
            for name, message in (('image_raw', image), ('camera_info', info)):
                kind = f'sensor_msgs/msg/{"Image" if name == "image_raw" else "CameraInfo"}'
                writer.write(topics[name], i * 10**8, serialize(message, kind))


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


@pytest.mark.parametrize('version', [1, 2])
def test_bag_plays_images_and_intrinsics(tmp_path, frames, version):
    path = tmp_path / ('recording.bag' if version == 1 else 'recording')
    write_bag(path, frames, version)
    recording = open_recording(ReplayConfig(source=str(path)))
    assert recording.camera == CAMERA
    for _ in range(2):
        assert np.array_equal(list(recording.frames()), frames)
    assert len(play(path, topic='/cam/image_raw')) == 4
    with pytest.raises(ConfigError, match=r'it has /cam/image_raw'):
        play(path, topic='/other')


def test_broken_image_in_a_bag_is_left_out(tmp_path, frames, caplog):
    write_bag(tmp_path / 'recording', frames, 2, cut=[1])
    assert np.array_equal(play(tmp_path / 'recording'), [frames[0], frames[2], frames[3]])
    assert 'incomplete image' in caplog.text


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
    with pytest.raises(GeometryError, match=r'wide\.yaml: .*1280x720, another ratio'):
        play(folder, camera=str(tmp_path / 'wide.yaml'))


def test_image_of_another_size_than_the_camera_is_left_out(folder, frames, caplog):
    other = np.zeros((50, 50, 3), np.uint8)
    write_atomic(folder / '1.png', encode_image(other, 'png'))
    assert np.array_equal(play(folder), [frames[0], frames[2], frames[3]])
    assert 'image left out: it has 50x50 pixels, the camera 160x120' in caplog.text


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
