"""What all tests share: real data, a headless renderer and a ROS graph of their own."""

import errno
import importlib.util
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Read by libraries when they are first imported or started, therefore set before any test is.
os.environ.setdefault('PYOPENGL_PLATFORM', 'egl')
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('XDG_CACHE_HOME', str(ROOT / 'build' / 'cache'))
os.environ.setdefault('HYPOTHESIS_STORAGE_DIRECTORY', str(ROOT / 'build' / 'hypothesis'))
os.environ.setdefault('ROS_LOG_DIR', str(ROOT / 'build' / 'ros_log'))
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
if os.environ.get('ROS_DISTRO') == 'humble':  # later distributions warn about this one
    os.environ['ROS_LOCALHOST_ONLY'] = '1'

# The same examples each time, on machines of any speed.
settings.register_profile('laws', derandomize=True, deadline=None, database=None)
settings.load_profile('laws')

# A shell starts what it puts into the background with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of the ROS nodes where there is no ROS."""
    if importlib.util.find_spec('rclpy') is None:
        skip = pytest.mark.skip(reason='rclpy is not installed: source a ROS 2 or run make setup')
        for item in items:
            if item.get_closest_marker('ros'):
                item.add_marker(skip)


def _folder(variable: str, default: Path) -> Path:
    """Return the folder named by an environment variable, or skip the test."""
    folder = Path(os.environ.get(variable) or default).resolve()
    if not folder.is_dir():
        pytest.skip(f'real data needed: no folder {folder}; set {variable}')
    return folder


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """Return the folder of real images and CAD models: $DATA, or ../shared/data."""
    return _folder('DATA', ROOT.parent / 'shared' / 'data')


@pytest.fixture(scope='session')
def weights_dir() -> Path:
    """Return the folder of pre-trained extractor weights: $WEIGHTS, or ../shared/weights."""
    return _folder('WEIGHTS', ROOT.parent / 'shared' / 'weights')


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread: with two, PyTorch itself now and then differs in the last bit."""
    import torch  # noqa: PLC0415  after OMP_NUM_THREADS is set

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that fills the disk: from then on nothing reaches it."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    return lambda: monkeypatch.setattr('os.fsync', fsync)
