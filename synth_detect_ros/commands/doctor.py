"""Check this machine and say what to do.

Every probe is independent: one that fails is a finding, never an error.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST_PYTHON = (3, 10)
SHARED_MEMORY_NEEDED = 512 << 20  # [bytes] a few batches of large images for each loader process
DISK_NEEDED = 5 << 30  # [bytes] a data set of some thousand images and a training run
PROBE_TIMEOUT_S = 60
# In a process of its own: a broken driver may crash, and a context stays for the process's life.
RENDER_PROBE = """
import numpy as np
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.rendering.meshes.mesh import Mesh, MeshPart
from synth_detect_ros.rendering.backends import get_renderer
from synth_detect_ros.rendering.renderer import Instance, Light
corners, pose = np.eye(3, dtype=np.float32), np.eye(4)
pose[2, 3] = 5
part = MeshPart(corners, np.arange(3, dtype=np.int32)[None], corners, np.full((3, 3), 255, 'u1'))
layer = get_renderer().draw(Camera.from_fov(64, 64, 40), Instance(Mesh((part,)), pose), Light())
assert layer.area, 'nothing was drawn'
from synth_detect_ros.rendering.egl import is_software
device = get_renderer().device
print(device, '(on the CPU)' if is_software(device) else '')
"""


@dataclass(frozen=True)
class Finding:
    """One thing about this machine.

    Attributes:
        name: what was looked at.
        good: whether it is as it should be.
        text: what was found and, unless good, what to do.
        needed: whether the package is of no use without it.
    """

    name: str
    good: bool
    text: str
    needed: bool = True

    def __str__(self) -> str:
        """One line."""
        mark = 'ok' if self.good else 'MISSING' if self.needed else 'note'
        return f'{mark:<8} {self.name}: {self.text}'


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command: none."""


def run(args: Namespace) -> int:
    """Print the findings; return 1 if something that is needed is missing."""
    findings = list(examine())
    for finding in findings:
        print(finding)
    return int(any(finding.needed and not finding.good for finding in findings))


def examine() -> Iterator[Finding]:
    """Yield a finding for each thing the package stands on, the fundamental ones first."""
    yield python()
    yield torch()
    yield rendering()
    yield ros()
    yield ros_package('vision_msgs', '~/detections stays off, ~/detections_json works')
    yield ros_package('cv_bridge', "this package's own conversions are used")
    yield shared_memory(Path('/dev/shm'))
    yield disk(Path.cwd())


def python() -> Finding:
    """Look at the interpreter."""
    text = f'{sys.version.split()[0]} at {sys.executable}'
    good = sys.version_info[:2] >= OLDEST_PYTHON
    advice = '' if good else f'. Use Python {".".join(map(str, OLDEST_PYTHON))} or later.'
    return Finding('Python', good, text + advice)


def torch() -> Finding:
    """Look at PyTorch and a GPU for it."""
    code = (
        'import torch, torchvision; from torchvision.ops import nms; '
        'nms(torch.zeros(1, 4), torch.zeros(1), 0.5); cuda = torch.cuda.is_available(); '
        'print(torch.__version__, "with torchvision", torchvision.__version__, end=", "); '
        'print(torch.cuda.get_device_name() if cuda else "no GPU: train with the preset fast_cpu")'
    )
    good, text = _run(code)
    advice = '. Install matching versions: pip install torch torchvision.'
    return Finding('PyTorch', good, text if good else text + advice)


def rendering() -> Finding:
    """Draw a triangle without a display, as the default renderer does."""
    good, text = _run(RENDER_PROBE)
    advice = '' if good else f'. {rendering_advice(text)}'
    return Finding('rendering', good, text + advice)


def rendering_advice(text: str) -> str:
    """Return what to do about a failed rendering probe, from its last line."""
    if 'RenderingError' in text:  # says it itself
        return 'Then look again: synth-detect doctor.'
    if 'No module named' in text:
        return 'Install what is missing: pip install -r requirements.txt.'
    return (
        'Update the graphics driver, choose another device (EGL_DEVICE_ID=1), or install the '
        "processor's: sudo apt install libegl1 libgl1 libgl1-mesa-dri."
    )


def ros() -> Finding:
    """Look for ROS 2."""
    if importlib.util.find_spec('rclpy') is not None:
        distribution = os.environ.get('ROS_DISTRO', 'rclpy from Python wheels, no distribution')
        return Finding('ROS 2', True, distribution, needed=False)
    text = 'not found: the nodes cannot run, everything else can. '
    advice = 'Source it (source /opt/ros/<distribution>/setup.bash) or run make setup.'
    return Finding('ROS 2', False, text + advice, needed=False)


def ros_package(module: str, without: str) -> Finding:
    """Look for a ROS package that is used where it is there.

    Args:
        module: its Python module.
        without: what happens where it is missing.
    """
    good, text = _run(f'import {module}; print("found")')
    if good:
        return Finding(module, True, text, needed=False)
    package = f'ros-{os.environ.get("ROS_DISTRO", "<distribution>")}-{module.replace("_", "-")}'
    advice = f'{text}; {without}. Where ROS 2 is installed: sudo apt install {package}'
    return Finding(module, False, advice, needed=False)


def shared_memory(folder: Path) -> Finding:
    """Look at the memory that loader processes hand images over in."""
    if not folder.is_dir():
        return Finding(str(folder), True, 'not used on this system', needed=False)
    free = shutil.disk_usage(folder).free
    good = free >= SHARED_MEMORY_NEEDED
    advice = '' if good else '. Start the container with --shm-size=2g, or train with --workers 0.'
    return Finding(str(folder), good, f'{free >> 20} MB free{advice}', needed=False)


def disk(folder: Path) -> Finding:
    """Look at the space for data sets and runs."""
    free = shutil.disk_usage(folder).free
    good = free >= DISK_NEEDED
    advice = '' if good else f'. Free some, or work elsewhere: {DISK_NEEDED >> 30} GB are advised.'
    return Finding('disk', good, f'{free >> 30} GB free in {folder}{advice}', needed=False)


def _run(code: str) -> tuple[bool, str]:
    """Run Python code in a child process; return success and the last line it wrote."""
    try:
        child = subprocess.run(
            [sys.executable, '-c', code],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f'no answer within {PROBE_TIMEOUT_S} s'
    if child.returncode < 0:
        return False, f'crashed with signal {-child.returncode}'
    lines = (child.stderr if child.returncode else child.stdout).strip().splitlines()
    return child.returncode == 0, lines[-1] if lines else 'no message'
