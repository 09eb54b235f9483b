"""YAML and JSON files: read, or refused in milliseconds with a short sentence."""

import os
import time
from pathlib import Path

import pytest

from synth_detect_ros.documents import read_json, read_yaml
from synth_detect_ros.errors import ConfigError, DatasetError

BOMB = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 10)}]\n' for i in range(1, 10)
)
MERGES = 'a0: &a0 {x: 1}\n' + ''.join(
    f'a{i}: &a{i} {{<<: [{", ".join([f"*a{i - 1}"] * 10)}]}}\n' for i in range(1, 10)
)
REFUSED_YAML = {
    'alias bomb': (BOMB, 'aliases stand for more'),
    'bomb of merges': (MERGES, 'aliases stand for more'),
    'an alias of itself': ('a: &a [*a]', 'stands inside'),
    'deep flow': ('[' * 100_000, 'levels'),
    'deep blocks': ('\n'.join(' ' * i + '- ' for i in range(200)), 'levels'),
    'huge integer': ('a: ' + '9' * 100_000, 'characters'),
    'base 60': ('a: 1' + ':59' * 100_000, 'characters'),
    'huge float': ('a: 1.' + '9' * 100_000, 'characters'),
    'no such day': ('a: 2020-13-45', 'month'),
    'no integer': ('a: !!int x', 'int'),
    'no date': ('a: !!timestamp x', ''),
    'no truth': ('a: !!bool x', ''),
    'code': ('!!python/object/apply:os.system [x]', 'constructor'),
    'twice': ('a: 1\na: 2', 'twice'),
    'no text': ('1: 2', 'not text'),
    'a list as key': ('? [a]\n: 1', 'not text'),
    'control characters': ('a: \x01', 'not allowed'),
    'half of a character': ('a: "\\ud800"', 'half of a character'),
    'zero': ('a: "b\\0c"', 'zero'),
    'no YAML': ('a: [1, 2', 'expected'),
    'long key': (f'{"k" * 100_000}: 1\n' * 2, 'characters'),
}


@pytest.mark.parametrize('name', REFUSED_YAML)
def test_bad_yaml_is_refused_shortly_and_at_once(tmp_path: Path, name: str) -> None:
    text, reason = REFUSED_YAML[name]
    file = tmp_path / 'a.yaml'
    file.write_text(text)
    start = time.process_time()
    with pytest.raises(ConfigError) as error:
        read_yaml(file, ConfigError)
    assert time.process_time() - start < 1  # an alias bomb takes hours
    assert str(file) in str(error.value)
    assert name == 'long key' or reason in str(error.value)
    assert len(str(error.value)) < len(str(file)) + 300


def test_aliases_and_merges_that_people_write_are_read(tmp_path: Path) -> None:
    file = tmp_path / 'a.yaml'
    file.write_text('base: &b {x: 1, y: [1, 2]}\none: {<<: *b, x: 2}\ntwo: *b\n')
    content = read_yaml(file, ConfigError)
    assert content['one'] == {'x': 2, 'y': [1, 2]}
    assert content['two'] == content['base']


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_text_is_read_in_the_encodings_that_say_what_they_are(
    tmp_path: Path, encoding: str
) -> None:
    file = tmp_path / 'a'
    file.write_text('{"name": "Gehäuse 图"}', encoding=encoding)
    for read in (read_yaml, read_json):
        assert read(file, ConfigError) == {'name': 'Gehäuse 图'}


def test_characters_that_json_writes_in_two_halves_are_read(tmp_path: Path) -> None:
    file = tmp_path / 'a.json'
    file.write_text('["\\ud83d\\ude00"]')
    assert read_json(file, ConfigError) == ['\U0001f600']


def test_text_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / 'a'
    file.write_bytes('{"a": 1,\n"name": "Gehäuse"}'.encode('latin-1'))
    for read in (read_yaml, read_json):
        with pytest.raises(DatasetError, match=r'line 2: wanted text in UTF-8, got the byte 0xe4'):
            read(file, DatasetError)


@pytest.mark.parametrize(
    'text',
    [
        '{' * 9,
        '[' * 200_000,
        '9' * 100_000,
        '',
        '\0',
        '{"a": 1} {',
        '["\\udFff"]',
        '{"\\uD800": 1}',
    ],
)
def test_bad_json_is_refused_shortly(tmp_path: Path, text: str) -> None:
    file = tmp_path / 'a.json'
    file.write_text(text)
    with pytest.raises(DatasetError, match='cannot be read as JSON') as error:
        read_json(file, DatasetError)
    assert len(str(error.value)) < len(str(file)) + 300


@pytest.mark.parametrize(
    ('read', 'variable'),
    [(read_json, 'SYNTH_DETECT_MAX_JSON_MB'), (read_yaml, 'SYNTH_DETECT_MAX_YAML_MB')],
)
def test_the_size_of_a_file_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read, variable: str
) -> None:
    file = tmp_path / 'a'
    file.write_text(f'"{" " * (2 << 20)}"')
    monkeypatch.setenv(variable, '1')
    with pytest.raises(DatasetError, match=f'limit of 1 MB.*{variable}'):
        read(file, DatasetError)
    monkeypatch.setenv(variable, '3')
    assert not read(file, DatasetError).strip()
    for wrong in ('much', '0', '-1', '1e5', 'inf', '0.0', '1' * 400, '٣'):
        monkeypatch.setenv(variable, wrong)
        with pytest.raises(ConfigError, match=f'{variable}: wanted a positive number'):
            read(file, DatasetError)
    monkeypatch.setenv(variable, '0.5')
    with pytest.raises(DatasetError, match=r'limit of 0\.5 MB'):
        read(file, DatasetError)
    monkeypatch.setenv(variable, '')
    assert not read(file, DatasetError).strip()


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    for name in ('pipe', '', 'none', 'pipe/below'):
        for read in (read_yaml, read_json):
            with pytest.raises(DatasetError):
                read(tmp_path / name, DatasetError)
