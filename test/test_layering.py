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


def _dotted(path: Path) -> str:
    """Return the name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def _imported_modules(path: Path, names: set[str]) -> set[str]:
    """Return which of the package's modules a module imports: of a folder, what it names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f'{node.module}.{alias.name}' for alias in node.names}
            found |= inside if inside <= names else (inside & names) | {str(node.module)}
    return found & names


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""
    reached = {start: set(imported) for start, imported in graph.items()}
    for middle in graph:
        for start in graph:
            if middle in reached[start]:
                reached[start] |= reached[middle]
    groups = {
        tuple(sorted(b for b in graph if b in reached[a] and a in reached[b])) for a in graph
    }
    return sorted(list(group) for group in groups if group)


def test_no_modules_import_each_other() -> None:
    """Imports inside of functions count: they hide a circle, they do not open it."""
    names = {_dotted(path) for path in MODULES}
    graph = {_dotted(path): _imported_modules(path, names) for path in MODULES}
    assert not _circles(graph)


def test_a_circle_is_found() -> None:
    graph = {'a': {'b'}, 'b': {'c'}, 'c': {'a'}, 'd': {'a', 'e'}, 'e': {'e'}, 'f': set()}
    assert _circles(graph) == [['a', 'b', 'c'], ['e']]


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
