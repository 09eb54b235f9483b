"""The demo's model and labels against the real video: what is drawn lies where the box is seen."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from synth_detect_ros.files import read_image
from synth_detect_ros.geometry.calibration import read_camera
from synth_detect_ros.modelling.model_box import model_box
from synth_detect_ros.rendering.backends import get_renderer
from synth_detect_ros.rendering.lens import Lens
from synth_detect_ros.rendering.meshes.cad_file import load_mesh
from synth_detect_ros.rendering.renderer import Canvas, Instance, Light, Material

ROOT = Path(__file__).parents[2]
MATERIAL = ROOT / 'build' / 'material' / 'cookie_box'
# As photographed: no shading on top of what the photographs of the faces hold.
FLAT = Material(1, 0, 0, 1)


@pytest.fixture(scope='module')
def views(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, ...]]:
    """Return frame, drawing and outline of every fourth labelled frame that made no texture."""
    if not (MATERIAL / 'test.json').is_file():
        pytest.skip('needs the video: make demo fetches it into build/material')
    out = tmp_path_factory.mktemp('model')
    model_box(MATERIAL / 'box.yaml', out)
    mesh = load_mesh(out / 'cookie_box.obj', 'm')
    lens = Lens(read_camera(MATERIAL / 'camera.yaml'))
    content = json.loads((MATERIAL / 'test.json').read_text())
    files = {image['id']: image['file_name'] for image in content['images']}
    found = []
    for row in content['annotations'][::4]:
        canvas = Canvas(*lens.camera.size)
        instance = Instance(mesh, np.array(row['pose']), FLAT)
        canvas.add(lens.draw(get_renderer(), instance, Light()))
        outline = rle.decode(rle.merge(rle.frPyObjects(row['segmentation'], 480, 640))) > 0
        frame = read_image(MATERIAL / 'frames' / files[row['image_id']])
        found.append((frame, canvas.colour[..., :3], canvas.ids > 0, outline))
    return found


def test_colours_of_model_and_frames_agree(views) -> None:
    differences = [
        np.abs(frame.astype(float) - drawn)[mask & outline].mean()
        for frame, drawn, mask, outline in views
    ]
    assert np.mean(differences) < 25  # grey levels; exposure and motion blur are not in the model


def print_shift(frame: np.ndarray, drawn: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return how far the print is off by phase correlation in a window well inside [px]."""
    y, x = (int(c) for c in np.argwhere(inside).mean(axis=0))
    half_h, half_w = 40, 80  # outlines lie outside: they would agree whatever the print does
    crop = slice(y - half_h, y + half_h), slice(x - half_w, x + half_w)
    grey = [
        np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)[crop])
        for image in (frame, drawn)
    ]
    window = cv2.createHanningWindow((2 * half_w, 2 * half_h), cv2.CV_64F)
    return np.array(cv2.phaseCorrelate(*grey, window)[0])


def test_print_of_model_lies_where_the_frames_show_it(views) -> None:
    for frame, drawn, mask, outline in views:
        inside = mask & outline
        assert np.linalg.norm(print_shift(frame, drawn, inside)) < 2
        off = print_shift(frame, np.roll(drawn, (3, -5), (0, 1)), inside)
        np.testing.assert_allclose(off, [-5, 3], atol=2)  # the measure sees a print that is off


def test_outlines_of_model_and_labels_agree(views) -> None:
    for _, _, mask, outline in views:
        union, common = np.count_nonzero(mask | outline), np.count_nonzero(mask & outline)
        assert common / union > 0.93  # flaps bow out by up to 6 px, the thumb hides a corner
