"""What all benchmarks share: results, the machine they come from, a table and a JSON file.

A result is a figure of ours and a figure of a peer measured in turns in the same run; `ratio` is
ours over peer, whatever the unit. Alone, a figure says more of the machine than of the code.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from synth_detect_ros.experiments.processes import machine

PACKAGES = (
    'numpy', 'opencv-python', 'torch', 'torchvision', 'moderngl', 'pyrender', 'onnxruntime',
    'openvino',
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One comparison.

    Attributes:
        name: of the benchmark.
        ours: figure of this package, in `unit`.
        peer: figure of the peer, in `unit`.
        unit: 'images/s', 'ms'.
        peer_name: who the peer is.
        details: whatever else is worth keeping.
    """

    name: str
    ours: float
    peer: float
    unit: str
    peer_name: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours over peer."""
        return self.ours / self.peer

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        mapping = asdict(self)
        mapping |= {key: round(mapping[key], 4) for key in ('ours', 'peer')}
        return mapping | {'ratio': round(self.ratio, 4)}


def report(results: Sequence[Result], path: Path | None) -> None:
    """Print results as a table, and write them to a file if one is given."""
    print(results_table(results))
    if path:
        write_results(path, results)


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write results as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([result.to_mapping() for result in results], indent=2) + '\n')


def read_results(path: Path) -> list[Result]:
    """Read what `write_results` wrote; nothing where there is no file."""
    rows = json.loads(path.read_text()) if path.is_file() else []
    return [Result(**{k: v for k, v in row.items() if k != 'ratio'}) for row in rows]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as text, numbers to three digits."""
    cells = [list(head), *([_text(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ['  '.join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return '\n'.join(line.rstrip() for line in lines)


def results_table(results: Iterable[Result]) -> str:
    """Return results as a table."""
    head = ('name', 'ours', 'peer', 'ratio', 'unit', 'peer is')
    rows = [(r.name, r.ours, r.peer, r.ratio, r.unit, r.peer_name) for r in results]
    return table(head, rows)


def machine_and_versions() -> dict[str, Any]:
    """Return processor, cores, GPU and versions."""
    facts = {**machine(), 'python': platform.python_version()}
    for name in PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts


def _text(value: object) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)
