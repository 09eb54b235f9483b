"""The picture and the names in docs/architecture.md are those of the code."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tools'))

import architecture  # noqa: E402

DOCUMENTS = (ROOT / 'docs/architecture.md', ROOT / 'docs/formats.md', ROOT / 'CONTRIBUTING.md')
# `module.function`, `folder.module.Class.method`; a file name or an option is none.
NAME = re.compile(r'`([a-z_]\w*(?:\.\w+)+)(?:\(\))?`')
FIRST = {path.with_suffix('').name for path in architecture.PACKAGE.iterdir()}


def names_in(document: Path) -> list[str]:
    """Return the dotted names of the package that a document gives as code."""
    found = NAME.findall(document.read_text())
    return [name for name in found if name.split('.')[0] in FIRST and not name.endswith('.py')]


def defined_in(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Return the names that statements define, each with the statements inside it."""
    names: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = node.body
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id: [] for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return names


def is_there(name: str) -> bool:
    """Return whether a dotted name leads to a folder, a module, or something defined in it."""
    place, words = architecture.PACKAGE, name.split('.')
    while words and (place / words[0]).is_dir():
        place /= words.pop(0)
    if not words:
        return True
    module = (place / words.pop(0)).with_suffix('.py')
    if not module.is_file():
        return False
    body = ast.parse(module.read_text()).body
    for word in words:
        names = defined_in(body)
        if word not in names:
            return False
        body = names[word]
    return True


def test_the_picture_is_that_of_the_imports() -> None:
    drawn = architecture.draw()
    assert architecture.PICTURE.read_text() == drawn, 'run python tools/architecture.py'


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_names_in_documents_are_there(document: Path) -> None:
    names = names_in(document)
    assert names
    assert [name for name in names if not is_there(name)] == []


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_files_that_documents_link_to_are_there(document: Path) -> None:
    links = re.findall(r'\]\(([^)#]+)', document.read_text())
    gone = [at for at in links if '://' not in at and not (document.parent / at).exists()]
    assert gone == []


def test_a_name_that_is_gone_is_noticed() -> None:
    assert is_there('errors.ConfigError') and is_there('dataset') and is_there('dataset.coco')
    assert not is_there('errors.NoSuchError')
    assert not is_there('dataset.no_such_module.read')
    assert not is_there('geometry.camera.Camera.no_such_method')
