"""Where a soak keeps its inputs and results; the helpers of the tests become importable here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = Path(os.environ.get('SOAK_OUT') or ROOT / 'build' / 'soak')
SEEDS, CORPUS, RESULTS = OUT / 'seeds', OUT / 'corpus', OUT / 'results.jsonl'

# Read by libraries when they are first imported.
os.environ.setdefault('PYOPENGL_PLATFORM', 'egl')
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
sys.path.insert(0, str(ROOT / 'test'))
