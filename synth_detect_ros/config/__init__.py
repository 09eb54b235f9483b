"""Everything that can be set, with default, unit and bounds: one frozen model a use case.

The only place with defaults. `options.py` reads these from YAML and command lines; the nodes
declare ROS parameters from them. Paths are text; relative ones are resolved by the reader of the
file they stand in.
"""

from synth_detect_ros.config.data import (
    RELIABILITIES,
    CaptureConfig,
    ExportConfig,
    Reliability,
    ReplayConfig,
)
from synth_detect_ros.config.detectors import (
    DenseConfig,
    DetectorConfig,
    FasterRCNNConfig,
    MaskRCNNConfig,
    RCNNConfig,
    RFCNConfig,
    SSDConfig,
)
from synth_detect_ros.config.inference import (
    RUNTIMES,
    DetectConfig,
    EvaluateConfig,
    ExperimentConfig,
    ExportModelConfig,
    QuantizeConfig,
)
from synth_detect_ros.config.network import NetworkConfig
from synth_detect_ros.config.rendering import (
    BUILTIN,
    BackgroundConfig,
    ComposeConfig,
    OutputConfig,
    PoseConfig,
    SceneConfig,
    SensorConfig,
    ShadingConfig,
    SynthesizeConfig,
)
from synth_detect_ros.config.training import (
    AugmentConfig,
    CacheConfig,
    OptimizerConfig,
    TrainConfig,
)

__all__ = [
    'BUILTIN',
    'RELIABILITIES',
    'RUNTIMES',
    'AugmentConfig',
    'BackgroundConfig',
    'CacheConfig',
    'CaptureConfig',
    'ComposeConfig',
    'DenseConfig',
    'DetectConfig',
    'DetectorConfig',
    'EvaluateConfig',
    'ExperimentConfig',
    'ExportConfig',
    'ExportModelConfig',
    'FasterRCNNConfig',
    'MaskRCNNConfig',
    'NetworkConfig',
    'OptimizerConfig',
    'OutputConfig',
    'PoseConfig',
    'QuantizeConfig',
    'RCNNConfig',
    'RFCNConfig',
    'Reliability',
    'ReplayConfig',
    'SSDConfig',
    'SceneConfig',
    'SensorConfig',
    'ShadingConfig',
    'SynthesizeConfig',
    'TrainConfig',
]
