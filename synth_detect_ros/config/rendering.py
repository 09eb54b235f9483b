"""What is rendered: objects, light, backgrounds, camera (Hinterstoisser et al. 2017, sec. 3.1)."""

from __future__ import annotations

from typing import Literal

from synth_detect_ros.config.options import Options
from synth_detect_ros.config.rules import option

# In place of an objects file: distractors of the package's own.
BUILTIN = 'builtin'


class PoseConfig(Options):
    """Where objects are put (Hinterstoisser et al. 2017, sec. 3.1)."""

    view_level: int = option(3, 'icosphere subdivisions, 10 * 4^n + 2 views', low=0, high=5)
    inplane_turns: int = option(36, 'equally spaced turns around the line of sight', low=1)
    inplane_deg: tuple[float, float] = option(
        (-180.0, 180.0), 'range of the in-plane turns', unit='deg', low=-180, high=180
    )
    elevation_deg: tuple[float, float] = option(
        (-90.0, 90.0),
        "elevation of the camera above the object's xy plane",
        unit='deg',
        low=-90,
        high=90,
    )
    distance_m: tuple[float, float] | None = option(
        None,
        'distance range, sampled logarithmically; null: from size_fraction',
        unit='m',
        low=1e-3,
        high=1e3,
    )
    size_fraction: tuple[float, float] = option(
        (0.1, 1.0),
        "apparent diameter over the image's shorter side, used when distance_m is null",
        low=0.01,
        high=2,
    )


class SceneConfig(Options):
    """What is put into one image."""

    targets: tuple[int, int] = option((1, 3), 'target objects an image', low=1, high=100)
    distractors: tuple[int, int] = option((0, 3), 'distractor objects an image', low=0, high=100)
    occlusion: bool = option(True, 'objects may hide each other')
    min_visib_fract: float = option(
        0.4, 'least visible share of a target, occlusion and border together', low=0.01, high=1
    )
    max_truncation: float = option(
        0.4, 'largest share of a target beyond the image border', low=0, high=0.99
    )


class ShadingConfig(Options):
    """Phong shading with perturbed terms (Hinterstoisser et al. 2017, sec. 3.1)."""

    perturb: bool = option(True, 'draw the terms from their ranges; else use the middles')
    ambient: tuple[float, float] = option((0.35, 0.75), 'ambient term', low=0, high=2)
    diffuse: tuple[float, float] = option((0.2, 0.8), 'diffuse term', low=0, high=2)
    specular: tuple[float, float] = option((0.0, 0.35), 'specular term', low=0, high=2)
    shininess: tuple[float, float] = option((4.0, 64.0), 'Phong exponent', low=1, high=1000)
    light_cone_deg: float = option(
        80.0, 'largest angle between light and line of sight', unit='deg', low=0, high=180
    )
    light_colour: float = option(0.12, 'standard deviation of each light channel', low=0, high=1)


class ComposeConfig(Options):
    """How the rendering is merged with the background (sec. 3.1)."""

    noise: bool = option(True, 'Gaussian noise on the rendered objects')
    noise_sigma: tuple[float, float] = option(
        (0.0, 8.0), 'standard deviation of the noise', unit='grey levels', low=0, high=100
    )
    blur: bool = option(True, 'Gaussian blur over the objects and their boundary')
    blur_sigma_px: tuple[float, float] = option(
        (0.3, 1.8), 'standard deviation of the blur', unit='px', low=0, high=20
    )
    blending: Literal['none', 'gaussian', 'poisson'] = option(
        'none', 'how object and background meet'
    )
    feather_px: float = option(1.5, 'width of gaussian blending', unit='px', low=0.1, high=20)


class BackgroundConfig(Options):
    """How background frames are varied (sec. 3.1)."""

    swap_channels: bool = option(True, 'random order of the colour channels')
    flip: bool = option(True, 'random horizontal and vertical flips')
    rotate: bool = option(True, 'random turns by quarter circles')
    crop: tuple[float, float] = option(
        (0.6, 1.0), 'side of the part that is used over the side of the frame', low=0.05, high=1
    )


class SensorConfig(Options):
    """A camera model on the whole image, in physical order (after Carlson et al. 2018)."""

    enabled: bool = option(False, 'apply the sensor model')
    chromatic_aberration_px: tuple[float, float] = option(
        (0.0, 1.0), 'radial shift of red and blue at the corner', unit='px', low=0, high=20
    )
    blur_sigma_px: tuple[float, float] = option((0.0, 1.0), 'defocus', unit='px', low=0, high=20)
    exposure_ev: tuple[float, float] = option(
        (-0.7, 0.7), 'exposure change', unit='EV', low=-5, high=5
    )
    shot_noise: tuple[float, float] = option(
        (0.0, 0.02), 'signal-dependent noise: variance over signal, both 0..1', low=0, high=1
    )
    read_noise: tuple[float, float] = option(
        (0.0, 0.015), 'signal-independent noise, standard deviation of 0..1', low=0, high=1
    )
    white_balance: float = option(0.08, 'standard deviation of each channel gain', low=0, high=1)
    jpeg_quality: tuple[int, int] = option(
        (60, 100), "compression in the camera's own driver", low=5, high=100
    )


class OutputConfig(Options):
    """Image files of the data set."""

    format: Literal['jpg', 'png'] = option('jpg', 'image format')
    jpeg_quality: int = option(95, 'quality of jpg files', low=10, high=100)


class SynthesizeConfig(Options):
    """`synth-detect synthesize`: render the CAD models over the captured frames."""

    needed = ('objects', 'backgrounds', 'out')
    objects: str = option('', 'objects file (YAML) of the targets', path='always')
    distractors: str = option(
        '', 'objects file of distractors, or builtin: boxes, cylinders and spheres that carry '
        'patterns and parts of the background frames; empty: none',
        path='always', words=(BUILTIN,),
    )  # fmt: skip
    backgrounds: str = option('', 'background set: frames/ and camera.yaml', path='always')
    camera: str = option(
        '', 'ROS calibration file; empty: camera.yaml of the background set', path='always'
    )
    camera_hfov_deg: float = option(
        0.0, 'horizontal field of view of an uncalibrated camera; 0: not used', unit='deg',
        low=0, high=179,
    )  # fmt: skip
    out: str = option('', 'folder of the data set', path='always')
    count: int = option(2000, 'images to render', low=1)
    seed: int = option(0, 'same seed, same bytes', low=0)
    workers: int = option(0, 'processes; 0: one a GPU, or else one a core', low=0, high=512)
    renderer: Literal['moderngl', 'pyrender'] = option('moderngl', 'rendering backend')
    pose: PoseConfig = option(PoseConfig, 'where objects are put')
    scene: SceneConfig = option(SceneConfig, 'what is put into one image')
    shading: ShadingConfig = option(ShadingConfig, 'light and material')
    background: BackgroundConfig = option(BackgroundConfig, 'variation of the background')
    compose: ComposeConfig = option(ComposeConfig, 'merging object and background')
    sensor: SensorConfig = option(SensorConfig, 'camera model on the whole image')
    output: OutputConfig = option(OutputConfig, 'image files')
