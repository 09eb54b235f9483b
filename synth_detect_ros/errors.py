"""Every error this package raises on purpose.

One root, `SynthDetectError`, so that a command or a node can catch them all; each child is also
the builtin that a caller who never heard of this package would catch. A message says what was
wanted, what came and what to do.
"""


class SynthDetectError(Exception):
    """Root of all errors raised on purpose by this package."""


class ConfigError(SynthDetectError, ValueError):
    """A configuration file, option or parameter holds something that cannot be used."""


class BagError(ConfigError):
    """A bag is broken beyond reading, or empty."""


class BagLimitError(BagError):
    """A bag holds more than the limits allow; an environment variable raises them."""


class FreezeError(ConfigError):
    """A freeze policy does not fit the extractor, for example one with random weights."""


class GeometryError(SynthDetectError, ValueError):
    """Camera, pose or box values that have no geometric meaning."""


class SelectionError(SynthDetectError, IndexError):
    """Detections or instances are chosen that are not there."""


class UncalibratedCameraError(GeometryError):
    """The camera has no intrinsics: focal length zero, as an uncalibrated driver sends it."""


class MeshError(SynthDetectError, ValueError):
    """A CAD file is missing, empty, or has a size that no such object has."""


class RenderingError(SynthDetectError, RuntimeError):
    """No usable OpenGL context, or the renderer failed."""


class BackgroundError(SynthDetectError, ValueError):
    """A background set is missing, empty or holds a broken frame."""


class ImageLimitError(SynthDetectError, ValueError):
    """An image has more pixels than the limit; an environment variable raises it."""


class DatasetError(SynthDetectError, ValueError):
    """A stored data set is missing, incomplete or contradicts itself."""


class StorageError(SynthDetectError, OSError):
    """Writing failed, for example on a full disk; what was written before is intact."""


class WeightsError(SynthDetectError, ValueError):
    """A weight file is missing or does not fit the architecture."""


class BundleError(SynthDetectError, ValueError):
    """A trained model on disk is missing, truncated or of another format version."""


class ParityError(SynthDetectError, RuntimeError):
    """An exported model does not find what its bundle finds."""


class TrainingError(SynthDetectError, RuntimeError):
    """Training cannot go on, for example because a loss is not finite."""


class MessageError(SynthDetectError, ValueError):
    """A ROS message cannot be converted: unknown encoding, or data that do not fit its size."""
