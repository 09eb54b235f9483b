"""The short form of the soak: some tries of every row, all of which hold; and its book-keeping."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from soak.matrix import Results, Row, one_by_one, run_row, table
from soak.rows import ROWS

ROOT = Path(__file__).parents[2]


def row(tried, failing=()):
    """Return a row that notes which numbers it tries."""

    def attempt(number, folder):
        tried.append(number)
        return 'broken' if number in failing else ''

    return Row('row', 'all is well', one_by_one(attempt), 5, 1)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr('soak.matrix.OUT', tmp_path)


def test_tries_are_counted_and_not_made_again(tmp_path) -> None:
    results, tried, said = Results(tmp_path / 'results.jsonl'), [], []
    run_row(row(tried, {1}), results, 3, 60, said.append)
    run_row(row(tried), results, 5, 60, said.append)
    assert tried == [0, 1, 2, 3, 4]
    assert table([row([])], results).splitlines()[-1] == '| all is well | 5 | 4 |'
    assert 'row 1: broken' in said


def test_tries_end_when_time_is_up(tmp_path) -> None:
    tried = []
    run_row(row(tried), Results(tmp_path / 'results.jsonl'), 5, 0, lambda text: None)
    assert tried == [0]


def test_results_of_other_code_and_half_lines_do_not_count(tmp_path) -> None:
    path, tried = tmp_path / 'results.jsonl', []
    old = Results(path)
    old.code = 'another'
    run_row(row(tried), old, 2, 60, lambda text: None)
    with path.open('a') as file:
        file.write('{"row": "row", "tr')
    run_row(row(tried), Results(path), 2, 60, lambda text: None)
    assert tried == [0, 1, 0, 1]


@pytest.mark.ros
@pytest.mark.slow
def test_short_form_holds(tmp_path) -> None:
    environment = os.environ | {'SOAK_OUT': str(tmp_path), 'SOAK_MINUTES': ''}
    command = [sys.executable, '-m', 'soak', '--short']
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    lines = (tmp_path / 'results.jsonl').read_text().splitlines()
    broken = [entry['why'] for entry in map(json.loads, lines) if not entry['held']]
    assert len(lines) == sum(row.short for row in ROWS), done.stdout + done.stderr
    assert broken == []
    assert done.returncode == 0
