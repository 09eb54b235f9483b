"""Imports go downward only, ROS stays in nodes/ and launch/, importing the package is cheap."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tools'))

import architecture  # noqa: E402

PACKAGE, STOREYS = architecture.PACKAGE, architecture.STOREYS
MODULES = sorted(PACKAGE.rglob('*.py'))

ROS = {
    'ament_index_python',
    'cv_bridge',
    'diagnostic_msgs',
    'launch',
    'launch_ros',
    'lifecycle_msgs',
    'rcl_interfaces',
    'rclpy',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
    'vision_msgs',
    'visualization_msgs',
}
HEAVY = {
    *('cv2', 'moderngl', 'numpy', 'pyrender', 'rclpy', 'scipy', 'torch', 'torchvision', 'trimesh'),
    'pydantic',
    'yaml',
}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _storey(part: str) -> int:
    found = [i for i, storey in enumerate(STOREYS) if part in storey]
    assert found, f'{part} has no storey: add it to STOREYS in tools/architecture.py'
    return found[0]


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_module_imports_only_downward(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix('').parts[0]
    if own == '__init__':
        return
    imported = architecture.parts_imported(path)
    upward = {part for part in imported if _storey(part) > _storey(own)}
    assert not upward, f'{_name(path)} imports from above: {sorted(upward)}'


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_only_nodes_import_ros(path: Path) -> None:
    if 'nodes' not in path.relative_to(PACKAGE).parts:
        assert not {name.split('.')[0] for name in architecture.imports_of(path)} & ROS


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring and docstring.splitlines()[0].endswith(('.', ':'))


def test_storeys_name_what_exists() -> None:
    parts = {p.relative_to(PACKAGE).with_suffix('').parts[0] for p in MODULES} - {'__init__'}
    assert {part for storey in STOREYS for part in storey} == parts


def _loaded_by(module: str) -> set[str]:
    """Return the modules that are loaded when one is imported in a fresh process."""
    code = f'import sys, {module}; print(*sys.modules)'
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not {name.split('.')[0] for name in _loaded_by('synth_detect_ros')} & HEAVY


def test_training_imports_no_pages_and_no_pictures() -> None:
    loaded = _loaded_by('synth_detect_ros.training.train')
    assert not loaded & {'matplotlib', 'jinja2', 'synth_detect_ros.report'}


@pytest.mark.parametrize('path', sorted((PACKAGE / 'nodes').glob('*.py')), ids=_name)
def test_nodes_import_no_private_name(path: Path) -> None:
    # Those of rclpy differ between Humble, Jazzy and Kilted.
    names = {name for name in architecture.imports_of(path) if not name.startswith('__future__')}
    assert not [name for name in names if re.search(r'(^|\.)_', name)]
