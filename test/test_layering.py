"""Imports go downward only, ROS stays in nodes/ and launch/, importing the package is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'synth_detect_ros'
MODULES = sorted(PACKAGE.rglob('*.py'))

# From the bottom up. A module may import from its own storey and from those before it.
STOREYS = [
    ('errors',),
    ('config',),
    ('structures', 'devices', 'compute'),
    ('geometry',),
    ('rendering',),
    ('dataset',),
    ('modelling', 'detectors'),
    ('bundle',),
    ('report',),
    ('inference',),
    ('evaluation',),
    ('training',),
    ('experiments',),
    ('commands',),
    ('nodes',),
]
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


def _imports(path: Path) -> set[str]:
    """Return the dotted names a module imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{_name(path)}: relative import'
            names |= {f'{node.module}.{alias.name}' for alias in node.names} | {str(node.module)}
    return names


def _storey(part: str) -> int:
    found = [i for i, storey in enumerate(STOREYS) if part in storey]
    assert found, f'{part} has no storey: add it to STOREYS'
    return found[0]


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_module_imports_only_downward(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix('').parts[0]
    if own == '__init__':
        return
    parts = {name.split('.')[1] for name in _imports(path) if name.startswith('synth_detect_ros.')}
    upward = {part for part in parts if _storey(part) > _storey(own)}
    assert not upward, f'{_name(path)} imports from above: {sorted(upward)}'


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_only_nodes_import_ros(path: Path) -> None:
    if 'nodes' not in path.relative_to(PACKAGE).parts:
        assert not {name.split('.')[0] for name in _imports(path)} & ROS


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring and docstring.splitlines()[0].endswith(('.', ':'))


def test_storeys_name_what_exists() -> None:
    parts = {p.relative_to(PACKAGE).with_suffix('').parts[0] for p in MODULES} - {'__init__'}
    assert {part for storey in STOREYS for part in storey} == parts


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = 'import sys, synth_detect_ros; print(*{name.split(".")[0] for name in sys.modules})'
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(result.stdout.split()) & HEAVY
