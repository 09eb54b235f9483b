"""A 2D detector for your objects and your camera, without labelling one image.

    read_background_set   frames and intrinsics kept from the live camera
    read_objects          CAD models: names, meshes, limits of their poses
    synthesize            renders the models over the frames: images, boxes, masks, poses
    train                 fits a detector behind a frozen, pre-trained feature extractor
    evaluate              COCO metrics on labelled images
    Predictor             detections and masks of new images

The nodes do the same over ROS 2. A public name is imported from its module when it is first used,
so that `import synth_detect_ros` takes no time and needs no library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names once more, for editors and type checkers; a test compares them
    from synth_detect_ros.bundle import load_bundle as load_bundle
    from synth_detect_ros.config import DenseConfig as DenseConfig
    from synth_detect_ros.config import EvaluateConfig as EvaluateConfig
    from synth_detect_ros.config import FasterRCNNConfig as FasterRCNNConfig
    from synth_detect_ros.config import MaskRCNNConfig as MaskRCNNConfig
    from synth_detect_ros.config import RFCNConfig as RFCNConfig
    from synth_detect_ros.config import SSDConfig as SSDConfig
    from synth_detect_ros.config import SynthesizeConfig as SynthesizeConfig
    from synth_detect_ros.config import TrainConfig as TrainConfig
    from synth_detect_ros.config.options import read_config as read_config
    from synth_detect_ros.dataset.backgrounds import BackgroundSet as BackgroundSet
    from synth_detect_ros.dataset.backgrounds import read_background_set as read_background_set
    from synth_detect_ros.dataset.synthesize import synthesize as synthesize
    from synth_detect_ros.errors import SynthDetectError as SynthDetectError
    from synth_detect_ros.evaluation.evaluate import evaluate as evaluate
    from synth_detect_ros.geometry.calibration import read_camera as read_camera
    from synth_detect_ros.geometry.camera import Camera as Camera
    from synth_detect_ros.inference.detect_files import detect_files as detect_files
    from synth_detect_ros.inference.predictor import Predictor as Predictor
    from synth_detect_ros.rendering.objects import read_objects as read_objects
    from synth_detect_ros.structures import Detections as Detections
    from synth_detect_ros.structures import Instances as Instances
    from synth_detect_ros.structures import Sample as Sample
    from synth_detect_ros.training.train import train as train

# Module -> public names in it.
_PUBLIC = {
    'bundle': ('load_bundle',),
    'config': (
        *('SynthesizeConfig', 'TrainConfig', 'EvaluateConfig'),
        *('FasterRCNNConfig', 'MaskRCNNConfig', 'RFCNConfig', 'SSDConfig', 'DenseConfig'),
    ),
    'config.options': ('read_config',),
    'dataset.backgrounds': ('BackgroundSet', 'read_background_set'),
    'dataset.synthesize': ('synthesize',),
    'errors': ('SynthDetectError',),
    'evaluation.evaluate': ('evaluate',),
    'geometry.calibration': ('read_camera',),
    'geometry.camera': ('Camera',),
    'inference.detect_files': ('detect_files',),
    'inference.predictor': ('Predictor',),
    'rendering.objects': ('read_objects',),
    'structures': ('Detections', 'Instances', 'Sample'),
    'training.train': ('train',),
}
_HOMES = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = list(_HOMES)
__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
    """Import a public name from its module; called once for each (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
