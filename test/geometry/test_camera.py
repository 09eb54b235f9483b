"""Cameras: the pixel convention and its laws."""

import os

import cv2
import numpy as np
import pytest
import yaml

from synth_detect_ros.errors import GeometryError, UncalibratedCameraError
from synth_detect_ros.geometry.calibration import (
    camera_from_calibration,
    camera_from_info,
    read_camera,
)
from synth_detect_ros.geometry.camera import (
    Camera,
    opengl_projection,
    project,
    unproject,
)

K = np.array([[500.0, 0, 310.2], [0, 505.0, 244.7], [0, 0, 1]])
CAMERAS = {
    'ideal': Camera(640, 480, K),
    'plumb_bob': Camera(640, 480, K, np.array([-0.28, 0.09, 0.001, -0.002, 0.01])),
    'rational': Camera(
        640, 480, K, np.array([0.3, 0.1, 1e-3, 1e-3, 0.02, 0.6, 0.2, 0.03]), 'rational_polynomial'
    ),
    'fisheye': Camera(640, 480, K, np.array([-0.05, 0.01, -0.003, 0.001]), 'equidistant'),
}


@pytest.fixture(params=CAMERAS)
def camera(request):
    return CAMERAS[request.param]


def test_unproject_inverts_project(camera):
    pixels = np.stack(np.meshgrid(np.arange(0, 640, 40), np.arange(0, 480, 40)), -1).reshape(-1, 2)
    rays = unproject(camera, pixels)
    np.testing.assert_allclose(project(camera, rays * 1.7), pixels, atol=1e-3)


def test_no_points_project_to_no_pixels(camera):
    assert project(camera, np.zeros((0, 3))).shape == (0, 2)
    assert unproject(camera, np.zeros((0, 2))).shape == (0, 3)


def test_calibration_survives_the_file(camera, tmp_path):
    path = tmp_path / 'camera.yaml'
    path.write_text(yaml.safe_dump(camera.to_calibration()))
    assert read_camera(path) == camera


def test_cropped_camera_sees_shifted_pixels(camera):
    points = unproject(camera, [[100.0, 120.0], [300.0, 200.0]]) * 2
    shifted = project(camera.cropped(30, -20, 200, 100), points)
    np.testing.assert_allclose(shifted, project(camera, points) - [30, -20], atol=1e-9)


def test_binned_camera_sees_the_mean_of_its_pixels(camera):
    points = unproject(camera, [[100.0, 121.0], [101.0, 122.0]])
    centre = project(camera.binned(2, 2), points).mean(axis=0)
    np.testing.assert_allclose(centre, [50.0, 60.5], atol=1e-3)
    assert camera.binned(2, 4).size == (320, 120)


def test_opengl_puts_pixel_centres_half_a_pixel_from_the_edge():
    camera = CAMERAS['ideal']
    points = unproject(camera, [[0.0, 0.0], [639.0, 479.0]]) * 2
    flipped = np.hstack([points * [1, -1, -1], np.ones((2, 1))])
    clip = flipped @ opengl_projection(camera, 0.1, 10).T
    ndc = clip[:, :3] / clip[:, 3:]
    window = (ndc[:, :2] * [1, -1] + 1) / 2 * [640, 480]
    np.testing.assert_allclose(window, [[0.5, 0.5], [639.5, 479.5]])


@pytest.mark.parametrize('z', [0.1, 10.0])
def test_opengl_depth_spans_near_to_far(z):
    clip = opengl_projection(CAMERAS['ideal'], 0.1, 10) @ [0, 0, -z, 1]
    assert clip[2] / clip[3] == pytest.approx(-1 if z == 0.1 else 1)


def test_field_of_view_spans_the_image():
    camera = Camera.from_fov(640, 480, 90)
    rays = unproject(camera, [[-0.5, 239.5], [639.5, 239.5]])
    np.testing.assert_allclose(rays[:, 0], [-1, 1])


@pytest.mark.parametrize('hfov', [0, 180])
def test_impossible_field_of_view_is_refused(hfov):
    with pytest.raises(GeometryError, match='between 0 and 180'):
        Camera.from_fov(640, 480, hfov)


def test_field_of_view_in_radians_is_refused():
    with pytest.raises(GeometryError, match=r'1 looks like radians, which are 57\.3 deg'):
        Camera.from_fov(640, 480, 1.0)


def info(**values):
    defaults = dict(
        K=K.ravel(), D=[-0.1, 0.0, 0, 0, 0], P=np.hstack([K * 0.9, np.zeros((3, 1))]).ravel(),
        distortion_model='plumb_bob', rectified=False,
    )  # fmt: skip
    return camera_from_info(640, 480, **{**defaults, **values})


def test_rectified_image_uses_p_and_no_distortion():
    assert info().distorted
    rectified = info(rectified=True)
    assert not rectified.distorted
    assert rectified.K[0, 0] == pytest.approx(450)


def test_region_of_interest_comes_before_binning():
    camera = info(roi=(40, 60, 320, 240), binning=(2, 2))
    assert camera.size == (160, 120)
    point = unproject(info(), [[200.0, 180.0]])
    np.testing.assert_allclose(project(camera, point), [[79.75, 59.75]], atol=1e-3)


def test_zero_focal_length_says_how_to_calibrate():
    with pytest.raises(UncalibratedCameraError, match='camera_hfov_deg'):
        info(K=np.zeros(9))


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (dict(width=0), 'at least 1x1'),
        (dict(K=-np.eye(3)), 'focal lengths'),
        (dict(D=np.ones(3)), 'takes 0 or 4 or 5 coefficients, got 3'),
        (dict(D=np.ones(4), distortion_model='thin_prism'), 'Choose one of plumb_bob'),
    ],
)
def test_impossible_cameras_are_refused(values, message):
    with pytest.raises(GeometryError, match=message):
        Camera(**{'width': 64, 'height': 48, 'K': np.eye(3), **values})


def test_unknown_model_without_coefficients_is_harmless():
    assert not Camera(64, 48, np.eye(3), np.zeros(5), '').distorted


def test_points_behind_the_camera_are_refused():
    with pytest.raises(GeometryError, match='in front'):
        project(CAMERAS['ideal'], [[0, 0, 0]])


@pytest.mark.parametrize('text', ['image_width: 640\n', '- 1\n'])
def test_file_that_is_no_calibration_is_named(tmp_path, text):
    path = tmp_path / 'camera.yaml'
    path.write_text(text)
    with pytest.raises(GeometryError, match=r'camera\.yaml.*wanted a ROS camera calibration'):
        read_camera(path)


def test_uncalibrated_file_keeps_its_own_error(tmp_path):
    calibration = CAMERAS['ideal'].to_calibration()
    calibration['camera_matrix']['data'] = [0.0] * 9
    with pytest.raises(UncalibratedCameraError):
        camera_from_calibration(calibration)


def test_real_calibrations_read(data_dir):
    for path in data_dir.glob('*/*/camera.yaml'):
        assert read_camera(path).width in (640, 1600)


def echo(camera, **more):
    """Return what `ros2 topic echo --once camera_info` prints."""
    content = dict(
        header={'stamp': {'sec': 1, 'nanosec': 2}, 'frame_id': 'optical'},
        height=camera.height, width=camera.width, distortion_model=camera.distortion_model,
        d=camera.D.tolist(), k=camera.K.reshape(-1).tolist(), r=np.eye(3).reshape(-1).tolist(),
        p=np.hstack([camera.K, np.zeros((3, 1))]).reshape(-1).tolist(), binning_x=0, binning_y=0,
        roi=dict(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False), **more,
    )  # fmt: skip
    return yaml.safe_dump(content) + '---\n'


def kalibr(camera, name='cam0'):
    model = {'plumb_bob': 'radtan', 'equidistant': 'equidistant'}[camera.distortion_model]
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    content = dict(
        camera_model='pinhole', intrinsics=[float(v) for v in (fx, fy, cx, cy)],
        distortion_model=model, distortion_coeffs=camera.D.tolist() or [0.0] * 4,
        resolution=[camera.width, camera.height], rostopic='/cam0/image_raw',
    )  # fmt: skip
    return {name: content}


def opencv(camera, path):
    """Write what OpenCV's calibration programs write."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write('image_width', camera.width)
    storage.write('image_height', camera.height)
    if camera.distortion_model == 'equidistant':
        storage.write('fisheye_model', 1)
    storage.write('camera_matrix', camera.K)
    D = camera.D if len(camera.D) else np.zeros(5)
    storage.write('distortion_coefficients', D[:, None])
    storage.release()


def test_camera_info_that_was_echoed_into_a_file_is_a_calibration(camera, tmp_path):
    path = tmp_path / 'camera.yaml'
    path.write_text(echo(camera))
    assert read_camera(path) == camera


def test_echoed_region_and_binning_count(tmp_path):
    camera, path = CAMERAS['plumb_bob'], tmp_path / 'camera.yaml'
    content = yaml.safe_load(echo(camera).removesuffix('---\n'))
    content['roi'] = dict(x_offset=40, y_offset=60, width=320, height=240, do_rectify=False)
    content['binning_x'] = content['binning_y'] = 2
    path.write_text(yaml.safe_dump(content))
    assert read_camera(path) == camera.cropped(40, 60, 320, 240).binned(2, 2)


def test_calibration_of_opencv_is_read(camera, tmp_path):
    opencv(camera, tmp_path / 'camera.yaml')
    assert read_camera(tmp_path / 'camera.yaml') == camera


@pytest.mark.parametrize('kind', ['ideal', 'fisheye'])
def test_calibration_of_kalibr_is_read(kind, tmp_path):
    path = tmp_path / 'camchain.yaml'
    path.write_text(yaml.safe_dump(kalibr(CAMERAS[kind])))
    assert read_camera(path) == CAMERAS[kind]
    path.write_text(yaml.safe_dump(kalibr(CAMERAS[kind]) | kalibr(CAMERAS['ideal'], 'cam1')))
    with pytest.raises(
        GeometryError, match=r'camchain\.yaml: wanted .* one camera, got cam0, cam1'
    ):
        read_camera(path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(camera_model='omni'), 'omni-radtan is none of ROS'),
        (dict(distortion_model='fov'), 'pinhole-fov is none of ROS'),
        (dict(resolution=[640]), r'wanted intrinsics: \[fu, fv'),
    ],
)
def test_kalibr_camera_without_a_model_of_ros_is_refused(change, message, tmp_path):
    content = kalibr(CAMERAS['ideal'])
    content['cam0'] |= change
    (tmp_path / 'camchain.yaml').write_text(yaml.safe_dump(content))
    with pytest.raises(GeometryError, match=rf'camchain\.yaml: cam0: .*{message}'):
        read_camera(tmp_path / 'camchain.yaml')


@pytest.mark.parametrize(('name', 'model'), [('fisheye', 'equidistant'), ('radtan', 'plumb_bob')])
def test_models_go_by_other_names_too(name, model):
    assert Camera(64, 48, np.eye(3), np.full(4, 0.1), name).distortion_model == model


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('camera_matrix', [4.2, 0, 310, 0, 4.2, 240, 0, 0, 1], 'Is it in mm'),
        ('camera_matrix', [1e6, 0, 310, 0, 1e6, 240, 0, 0, 1], 'wanted 0.05 to 100 times'),
        ('camera_matrix', [500, 0, 1980, 0, 500, 240, 0, 0, 1], 'cx is 1980 px, far outside'),
        ('camera_matrix', [500, 0, 0, 0, 500, 0, 310, 240, 1], 'row by row'),
        ('camera_matrix', [float('nan'), 0, 310, 0, 500, 240, 0, 0, 1], 'focal lengths'),
        ('camera_matrix', [-500, 0, 310, 0, -500, 240, 0, 0, 1], 'focal lengths'),
        ('camera_matrix', [500, 0, 310, 0, float('inf'), 240, 0, 0, 1], 'focal lengths'),
        ('camera_matrix', [500, 0, 310], 'wanted a ROS camera calibration'),
        ('distortion_coefficients', [float('nan'), 0, 0, 0, 0], 'must be finite'),
        ('distortion_coefficients', [0.1] * 6, 'takes 0 or 4 or 5 coefficients, got 6'),
        ('image_width', 640.5, 'a side of an image'),
        ('image_width', float('inf'), 'a side of an image'),
        ('image_height', 10**9, 'a side of an image'),
        ('image_height', -480, 'a side of an image'),
    ],
)
def test_calibration_that_no_camera_has_is_refused_with_its_file(key, value, message, tmp_path):
    content = CAMERAS['ideal'].to_calibration()
    content[key] = {'data': value} if isinstance(content[key], dict) else value
    (tmp_path / 'camera.yaml').write_text(yaml.safe_dump(content))
    with pytest.raises(GeometryError, match=rf'camera\.yaml: .*{message}'):
        read_camera(tmp_path / 'camera.yaml')


def test_camera_info_that_no_camera_has_is_refused():
    with pytest.raises(GeometryError, match='Is it in mm'):
        info(K=[4.2, 0, 310, 0, 4.2, 240, 0, 0, 1])


def test_rectified_image_of_a_lens_without_distortion_needs_no_p():
    assert info(rectified=True, P=np.zeros(12), D=[]) == CAMERAS['ideal']
    with pytest.raises(UncalibratedCameraError):
        info(rectified=True, P=np.zeros(12))


@pytest.mark.parametrize('size', [(320, 240), (1280, 960), (427, 320), (1366, 1024), (64, 48)])
def test_camera_of_a_resized_image_sees_the_same_points_there(camera, size):
    """The edges of the image are where they were: pixel centres scale about -0.5."""
    points = unproject(camera, [[100.0, 120.0], [300.0, 200.0], [0.0, 479.0]]) * 2
    resized = camera.resized(*size)
    scale = np.array(size) / camera.size
    wanted = (project(camera, points) + 0.5) * scale - 0.5
    np.testing.assert_allclose(project(resized, points), wanted, atol=1e-9)
    assert resized.size == size
    assert camera.resized(*camera.size) == camera


@pytest.mark.parametrize('size', [(1280, 720), (640, 360), (480, 640), (320, 242), (640, 481)])
def test_camera_of_another_ratio_is_refused(camera, size):
    with pytest.raises(GeometryError, match='got one of 640x480, another ratio'):
        camera.resized(*size)


@pytest.mark.parametrize(
    'text',
    [
        'a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n',
        '[' * 50_000,
        'image_width: ' + '9' * 10_000,
        'a: ' + 'x' * 200_000,
        b'\xff\xfe\xfd',
        b'\x80\x00',
        '',
    ],
    ids=['aliases', 'depth', 'number', 'length', 'encoding', 'bytes', 'empty'],
)
def test_file_that_is_made_to_be_hard_to_read_is_refused_in_a_sentence(text, tmp_path):
    path = tmp_path / 'camera.yaml'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(GeometryError, match=r'camera\.yaml.*(wanted|cannot)') as raised:
        read_camera(path)
    assert len(str(raised.value)) < 500 and '\n' not in str(raised.value)


def test_pipe_is_no_calibration(tmp_path):
    os.mkfifo(tmp_path / 'camera.yaml')
    with pytest.raises(GeometryError, match='not a regular file'):
        read_camera(tmp_path / 'camera.yaml')
