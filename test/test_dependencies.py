"""docs/dependencies.md speaks of what the requirements files ask for, and of nothing else."""

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tools'))

import dependencies  # noqa: E402

DOCUMENT = ROOT / 'docs/dependencies.md'
FILES = sorted(ROOT.glob('requirements*.txt'))


def rows_of(title: str) -> list[list[str]]:
    """Return the cells of the table below a heading, its head and rule left out."""
    text = DOCUMENT.read_text().partition(f'\n## {title}\n')[2].partition('\n## ')[0]
    rows = [line.strip('|').split('|') for line in text.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_each_requirement_has_a_row_and_each_row_a_requirement(path: Path) -> None:
    rows, lines = {row[0] for row in rows_of(path.name)}, set(dependencies.requirements(path))
    assert rows == lines


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_each_row_says_why_licence_upkeep_size_and_what_else(path: Path) -> None:
    for row in rows_of(path.name):
        assert len(row) == 7 and all(row), row


def test_bounds_that_are_explained_are_those_of_the_requirements() -> None:
    bounds = {line.split()[0] for path in FILES for line in path.read_text().splitlines() if line}
    explained = [row[0] for row in rows_of('Oldest versions')]
    assert explained and set(explained) <= bounds


def test_lock_file_pins_every_requirement_by_hash() -> None:
    text = (ROOT / 'requirements.lock').read_text().replace('\\\n', '')
    pins = [line.split() for line in text.splitlines()]
    assert all(any(part.startswith('--hash=sha256:') for part in pin) for pin in pins)
    pinned: dict[str, list[Version]] = {}
    for name, version in (pin[0].split('==') for pin in pins):
        pinned.setdefault(canonicalize_name(name), []).append(Version(version))
    for path in (path for path in FILES if path.name != 'requirements-bench.txt'):
        for line in path.read_text().splitlines():
            if wanted := line.partition('#')[0].strip():
                bound = Requirement(wanted)
                versions = pinned[canonicalize_name(bound.name)]
                assert all(version in bound.specifier for version in versions), line


def test_sizes_are_those_of_installed_files(tmp_path: Path) -> None:
    folder = tmp_path / 'thing-1.0.dist-info'
    folder.mkdir()
    (tmp_path / 'thing.py').write_bytes(bytes(1_500_000))
    (folder / 'METADATA').write_text('Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n')
    (folder / 'RECORD').write_text('thing.py,,\ngone.py,,\n')
    (installed,) = dependencies.Distribution.discover(path=[str(tmp_path)])
    assert dependencies.size_mb(installed) == pytest.approx(1.5)


def test_what_a_package_needs_is_found_in_turn() -> None:
    assert {'trimesh', 'numpy'} <= set(dependencies.with_needed('trimesh'))
    assert dependencies.with_needed('no-such-package') == {}


def test_requirements_are_read_without_comments(tmp_path: Path) -> None:
    path = tmp_path / 'requirements.txt'
    path.write_text('# Of a robot.\nnumpy>=1.26\n\nopencv-python>=4.9   # images\n')
    assert dependencies.requirements(path) == ['numpy', 'opencv-python']
    assert dependencies.canonical('OpenCV_Python') == 'opencv-python'
