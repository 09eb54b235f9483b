"""Buffers and accessors of glTF: bytes to arrays."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import unquote

import numpy as np

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.pieces import Floats, check_indices
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles

COMPONENTS = {5120: 'i1', 5121: 'u1', 5122: 'i2', 5123: 'u2', 5125: 'u4', 5126: 'f4'}
COLUMNS = {'SCALAR': 1, 'VEC2': 2, 'VEC3': 3, 'VEC4': 4, 'MAT4': 16}
# Elements of an accessor without data of its own, beyond which it is no mesh but a mistake.
MOST_ELEMENTS = 10_000_000


class Buffers:
    """The binary data of a file.

    Args:
        document: the JSON of the file.
        binary: the binary part of a GLB.
        files: of the model.
    """

    def __init__(self, document: dict[str, Any], binary: bytes | None, files: SourceFiles) -> None:
        self._document = document
        self._files = files
        self._loaded: dict[int, bytes] = {} if binary is None else {0: binary}

    def uri(self, uri: str) -> bytes:
        """Return the data behind a URI: in the text itself, or of a file of the model.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the text holds no base64.
        """
        if not uri.startswith('data:'):
            return self._files.get(uri if self._files.find(uri) else unquote(uri))
        head, _, text = uri.partition(',')
        try:
            return base64.b64decode(text) if head.endswith('base64') else unquote(text).encode()
        except binascii.Error as error:
            raise ValueError(f'a URI holds no base64 ({error})') from error

    def view(self, number: int) -> bytes:
        """Return the bytes of a buffer view.

        Raises:
            MeshError: its buffer is missing or too short, or compressed.
        """
        view = self._document['bufferViews'][number]
        for extension in view.get('extensions', {}):
            if 'compression' in extension and 'uri' not in self._buffer(view['buffer']):
                raise MeshError(f'{self._files.path}: needs {extension}, which is not read here')
        start, size = view.get('byteOffset', 0), view['byteLength']
        data = self._data(view['buffer'])
        if min(start, size) < 0 or start + size > len(data):
            raise MeshError(f'{self._files.path}: bufferViews[{number}] ends at byte '
                            f'{start + size} of {len(data)}')  # fmt: skip
        return data[start : start + size]

    def _buffer(self, number: int) -> dict[str, Any]:
        return dict(self._document['buffers'][number])

    def _data(self, number: int) -> bytes:
        if number not in self._loaded:
            where = f'{self._files.path}: buffers[{number}]'
            buffer = self._buffer(number)
            if 'uri' not in buffer:
                raise MeshError(f'{where} has no data')
            try:
                self._loaded[number] = self.uri(buffer['uri'])
            except FileNotFoundError as error:
                raise MeshError(f'{where}: {error}: copy it beside the model') from error
        return self._loaded[number]

    def array(self, number: int, where: str, columns: int = 0) -> Floats:
        """Return an accessor as (count, columns) float64; normalized integers as -1..1 or 0..1.

        Args:
            number: of the accessor.
            where: begins the messages of errors.
            columns: that are wanted; 0: any.

        Raises:
            MeshError: it has no data, ends early or has other columns.
        """
        accessor = self._document['accessors'][number]
        where = f'{where}: accessors[{number}]'
        dtype = np.dtype('<' + COMPONENTS[accessor['componentType']])
        count, width = int(accessor['count']), COLUMNS[accessor['type']]
        if count < 0 or (columns and width != columns):
            raise MeshError(f'{where}: wanted {columns} columns, got {count} rows of {width}')
        if 'bufferView' in accessor:
            values = self._strided(accessor, dtype, count, width, where)
        elif 'sparse' in accessor and count <= MOST_ELEMENTS:
            values = np.zeros((count, width), dtype)
        else:
            raise MeshError(f'{where} has no data: {self._compressed()}')
        if 'sparse' in accessor:
            values = self._sparse(values, accessor['sparse'], where)
        array = values.astype(np.float64)
        if accessor.get('normalized') and dtype.kind != 'f':
            array = np.maximum(array / np.iinfo(dtype).max, -1.0)
        return array

    def _compressed(self) -> str:
        used = self._document.get('extensionsUsed', ())
        names = [name for name in used if 'compression' in name]
        wanted = f'it needs {", ".join(names)}, which is not read here; ' if names else ''
        return f'{wanted}export the model without compression'

    def _strided(
        self, accessor: dict[str, Any], dtype: Any, count: int, width: int, where: str
    ) -> Any:
        """Return the values of a buffer view, whatever lies between its rows."""
        data = self.view(accessor['bufferView'])
        row = dtype.itemsize * width
        view = self._document['bufferViews'][accessor['bufferView']]
        start, stride = accessor.get('byteOffset', 0), view.get('byteStride', row) or row
        end = start + (count - 1) * stride + row if count else start
        if start < 0 or stride < row or end > len(data):
            raise MeshError(f'{where}: {count} rows end at byte {end} of {len(data)}')
        return np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))

    def _sparse(self, values: Any, sparse: dict[str, Any], where: str) -> Any:
        count = int(sparse['count'])
        kind = np.dtype('<' + COMPONENTS[sparse['indices']['componentType']])
        index = self._strided(sparse['indices'], kind, count, 1, where)[:, 0].astype(np.int64)
        check_indices(index, len(values), f'{where}: sparse index')
        values = values.copy()
        values[index] = self._strided(
            sparse['values'], values.dtype, count, values.shape[1], where
        )
        return values
