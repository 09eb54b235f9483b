"""Measured figures say where they come from, and the script that tells their age."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tools'))

import figures  # noqa: E402

DOCUMENTS = (ROOT / 'README.md', ROOT / 'docs/accuracy.md')


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_figures_name_code_that_is_there(document: Path) -> None:
    found = list(figures.read_figures(document))
    assert found
    for figure in found:
        assert all((ROOT / path).exists() for path in figure.code), figure.place


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_a_table_of_numbers_has_a_figure_before_it(document: Path) -> None:
    """Between a heading and its first table with decimals stands where they come from."""
    marked = True
    for number, line in enumerate(document.read_text().splitlines(), start=1):
        if line.startswith('#'):
            marked = False
        marked |= line.startswith('<!-- measured')
        cells = [cell.strip() for cell in line.split('|')[2:-1]] if line.startswith('|') else []
        measured = any(cell.replace('.', '', 1).isdigit() and '.' in cell for cell in cells)
        assert marked or not measured, f'{document.name}:{number}: {line}'


def test_results_of_the_demo_say_where_they_come_from() -> None:
    text = (ROOT / 'README.md').read_text()
    results = text.partition('## What it reaches')[2].partition('\n## ')[0]
    assert figures.MARK.search(results)


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_marked_commits_are_of_this_history(document: Path) -> None:
    if figures.git('rev-parse', '--is-shallow-repository') != 'false':
        pytest.skip('needs the whole history: not a checkout, or a shallow clone')
    for figure in figures.read_figures(document):
        assert figures.commits_since(figure) >= 0


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(figures, 'ROOT', tmp_path)
    monkeypatch.setattr(sys, 'argv', ['figures', '--strict'])
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'code').mkdir()
    git(tmp_path, 'init', '-q')
    commit(tmp_path, 'code/a.py')
    return tmp_path


def git(folder: Path, *words: str) -> str:
    who = ('-c', 'user.name=test', '-c', 'user.email=test@example.org')
    done = subprocess.run(
        ['git', *who, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, name: str) -> str:
    with (folder / name).open('a') as file:
        file.write('line\n')
    git(folder, 'add', '.')
    git(folder, 'commit', '-q', '-m', name)
    return git(folder, 'rev-parse', '--short', 'HEAD')


def test_age_counts_commits_of_the_measured_code_alone(repository: Path, capsys) -> None:
    (repository / 'other.py').touch()
    first = commit(repository, 'code/a.py')
    (repository / 'README.md').write_text(f'<!-- measured: {first}; code; make it so -->\n')
    commit(repository, 'other.py')
    assert figures.main() == 0
    assert capsys.readouterr().out == f'README.md:1: {first}, up to date: make it so\n'
    commit(repository, 'code/a.py')
    assert figures.main() == 1
    assert '1 commits of code later' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('mark', 'message'),
    [
        ('<!-- measured: today; code; make -->', 'README.md:1: wanted <!-- measured: COMMIT'),
        ('<!-- measured: 1234567; code -->', 'README.md:1: wanted'),
        ('<!-- measured: 1234567; code; make -->', 'README.md:1: there is no commit 1234567'),
        ('<!-- measured: 1234567; gone; make -->', 'README.md:1: there is no gone'),
    ],
)
def test_a_wrong_mark_is_named(repository: Path, mark: str, message: str) -> None:
    (repository / 'README.md').write_text(mark + '\n')
    with pytest.raises(ValueError, match=message):
        figures.main()
