"""A size one can live in: small folders, modules and functions; no name for two things."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'synth_detect_ros'
MODULES = sorted(PACKAGE.rglob('*.py'))
FOLDERS = sorted({path.parent for path in MODULES})
ROOT_MODULES, FOLDER_MODULES, MODULE_LINES, FUNCTION_LINES = 8, 16, 300, 40


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize('folder', FOLDERS, ids=_name)
def test_folder_holds_few_modules(folder: Path) -> None:
    limit = ROOT_MODULES if folder == PACKAGE else FOLDER_MODULES
    assert len(list(folder.glob('*.py'))) <= limit


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_module_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MODULE_LINES
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}


def test_no_two_classes_share_a_name() -> None:
    owners = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                owners[node.name].append(_name(path))
    assert {name: paths for name, paths in owners.items() if len(paths) > 1} == {}
