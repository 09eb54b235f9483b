"""YAML and JSON files: read within limits, or refused in a short sentence.

Whoever wrote a file, reading it takes neither long nor much memory: its size is limited before it
is read, the depth of YAML and what its aliases stand for while it is parsed.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from synth_detect_ros.errors import ConfigError, SynthDetectError

# Of a file, with the environment variables that raise them. The annotations of COCO's 120 000
# images take 450 MB; PyYAML reads 1 MB in some seconds.
JSON_MB, DEFAULT_JSON_MB = 'SYNTH_DETECT_MAX_JSON_MB', 1024
YAML_MB, _DEFAULT_YAML_MB = 'SYNTH_DETECT_MAX_YAML_MB', 4
# Levels of YAML; Python's own limit is hit by ten times as many.
_DEPTH = 64
# Values that all aliases of a YAML file stand for; nested ones make billions of a few lines.
_ALIASED = 100_000
# Characters of a number or date in YAML.
_LONGEST_NUMBER = 100
_LONGEST_REASON = 200
# Characters that end a line or move the cursor, and bytes of a file name that are no text.
_CONTROLS = {'Cc', 'Cs', 'Zl', 'Zp'}
_POSITIVE = re.compile(r'[0-9]{1,9}(\.[0-9]{1,9})?')
# Zero ends the name of a file. Half of a character, which JSON may write, is no text alone.
_NO_TEXT = re.compile('[\0\ud800-\udfff]')
_ESCAPED_HALF = re.compile(r'\\u[dD][89a-fA-F]')
# That of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: 'utf-8-sig',
    codecs.BOM_UTF32_LE: 'utf-32',
    codecs.BOM_UTF32_BE: 'utf-32',
    codecs.BOM_UTF16_LE: 'utf-16',
    codecs.BOM_UTF16_BE: 'utf-16',
}
# What PyYAML raises when a value is not of the type that its tag or its look says.
_NO_SUCH_VALUE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def read_yaml(path: Path, error: type[SynthDetectError]) -> Any:
    """Read a YAML file; see `parse_yaml`.

    Args:
        path: of the file.
        error: raised when it is missing, no regular file, too large, no text, or no YAML.
    """
    return parse_yaml(read_text(path, error), str(path), error)


def read_json(path: Path, error: type[SynthDetectError]) -> Any:
    """Read a JSON file; NaN and infinity, which Python writes too, are floats.

    Args:
        path: of the file.
        error: raised when it is missing, no regular file, too large, no text, or no JSON.
    """
    return parse_json(read_text(path, error, JSON_MB, DEFAULT_JSON_MB), str(path), error)


def parse_json(text: str, source: str, error: type[SynthDetectError]) -> Any:
    """Return what JSON says.

    Args:
        text: the JSON.
        source: of the text, for messages.
        error: raised when it is no JSON, nested too deeply, or holds half a character.
    """
    try:
        content = json.loads(text)
        if _ESCAPED_HALF.search(text):
            json.dumps(content, ensure_ascii=False).encode()  # the quickest way through all of it
        return content
    except RecursionError:
        raise error(f'{source}: cannot be read as JSON: it is nested too deeply') from None
    except UnicodeEncodeError as reason:
        problem = f'\\u{ord(reason.object[reason.start]):04x} is half of a character'
        raise error(f'{source}: cannot be read as JSON: {problem}') from None
    except ValueError as reason:
        raise error(f'{source}: cannot be read as JSON: {short(reason)}') from reason


def read_text(
    path: Path,
    error: type[SynthDetectError],
    variable: str = YAML_MB,
    default: int = _DEFAULT_YAML_MB,
) -> str:
    """Read a text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
        path: of the file.
        error: raised when it is missing, no regular file, too large, or no text.
        variable: of the environment, that sets how large it may be [MB].
        default: what the variable is where it is not set.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would wait, a device never end
            raise error(f'{path}: cannot be read: not a regular file')
        most = limit(variable, default)
        with path.open('rb') as file:
            data = file.read(int(most * 2**20) + 1)
    except FileNotFoundError:
        raise error(f'{path}: no such file') from None
    except (OSError, ValueError) as reason:
        if isinstance(reason, SynthDetectError):
            raise
        raise error(f'{path}: cannot be read: {short(reason)}') from reason
    if len(data) > most * 2**20:
        raise error(
            f'{path}: larger than the limit of {most:g} MB. If that is right, raise {variable}.'
        )
    return decode(data, str(path), error)


def parse_yaml(text: str, source: str, error: type[SynthDetectError]) -> Any:
    """Return what YAML says; of several documents the first, None for an empty text.

    Args:
        text: the YAML.
        source: of the text, for messages.
        error: raised when it is no YAML, a key is not text or given twice, or it stands for more
            than a file that people write.
    """
    loader = None
    try:
        loader = _Loader(text)  # refuses characters that are not printable
        return loader.get_data() if loader.check_data() else None  # type: ignore[no-untyped-call]
    except yaml.MarkedYAMLError as reason:
        mark = reason.problem_mark or reason.context_mark
        where = f', line {mark.line + 1}' if mark else ''
        raise error(
            f'{source}{where}: cannot be read as YAML: {short(reason.problem or reason.context)}'
        ) from reason
    except (*_NO_SUCH_VALUE, RecursionError, yaml.YAMLError) as reason:
        raise error(f'{source}: cannot be read as YAML: {short(reason)}') from reason
    finally:
        if loader is not None:
            loader.dispose()


def limit(variable: str, default: float) -> float:
    """Return a limit that an environment variable may change, so that it reaches all processes.

    Raises:
        ConfigError: the variable is no positive number.
    """
    text = os.environ.get(variable) or str(default)
    if not _POSITIVE.fullmatch(text) or not float(text):
        raise ConfigError(f'{variable}: wanted a positive number, got {text!r}')
    return float(text)


def is_line(value: Any) -> TypeGuard[str]:
    """Return whether a value is text in one line, in any script, with more than spaces in it."""
    if not isinstance(value, str) or not value.strip():
        return False
    return value.isprintable() or not _CONTROLS & set(map(unicodedata.category, value))


def short(reason: object) -> str:
    """Return a reason in one line that is not long, whatever data it quotes."""
    text = ' '.join(str(reason).split()) or type(reason).__name__
    return text if len(text) <= _LONGEST_REASON else f'{text[:_LONGEST_REASON]}...'


def decode(data: bytes, source: str, error: type[SynthDetectError]) -> str:
    """Return text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
        data: the bytes.
        source: of them, for messages.
        error: raised when they are no such text.
    """
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), 'utf-8')
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as reason:
        line = data[: reason.start].count(b'\n') + 1
        raise error(
            f'{source}, line {line}: wanted text in UTF-8, got the byte '
            f'0x{data[reason.start]:02x}. Save the file as UTF-8.'
        ) from reason


class _Loader(yaml.SafeLoader):
    """Refuses a key that is not text or given twice, and what stands for too much."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._aliased = 0
        self._sizes: dict[int, int] = {}  # number of values in each node, by its identity

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node."""
        alias = self.check_event(yaml.AliasEvent)
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > _DEPTH:
            self._refuse(f'more than {_DEPTH} levels', event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if alias:
            if id(node) not in self._sizes:
                self._refuse(f'the alias *{event.anchor} stands inside of what it names', event)
            self._aliased += self._sizes[id(node)]
            if self._aliased > _ALIASED:
                self._refuse(f'its aliases stand for more than {_ALIASED} values', event)
        else:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(n)] for n in _children(node))
        return node

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        """Return the next single value."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if _NO_TEXT.search(node.value):
            self._refuse(f'zero or half of a character in {short(ascii(node.value))}', event)
        if node.tag != self.DEFAULT_SCALAR_TAG and len(node.value) > _LONGEST_NUMBER:
            kind = node.tag.rpartition(':')[2]
            self._refuse(f'a value of type {kind} with {len(node.value)} characters', event)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; YAML alone would silently take the last of two equal keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            problem = ''
            if key.tag not in (self.DEFAULT_SCALAR_TAG, 'tag:yaml.org,2002:merge'):
                problem = f'the key {short(repr(key.value))} is not text; put it in quotes'
            elif key.value in seen:
                problem = f'the key {short(repr(key.value))} is given twice'
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def _refuse(self, problem: str, event: Any) -> None:
        raise yaml.composer.ComposerError(None, None, problem, event.start_mark)


def _children(node: yaml.Node) -> list[yaml.Node]:
    """Return the nodes directly inside a node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
