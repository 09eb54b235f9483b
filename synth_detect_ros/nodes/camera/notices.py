"""What is wrong with a camera or its messages: counted each time, said once."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable

# So that messages which are all wrong in another way cannot fill log and memory.
_KINDS = 20
_LONGEST = 600  # [characters], of texts that hold what a message holds
# A state that flickers is said again after a while [s].
_QUIET_S = 60.0
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|[-+]?\d[\w.+-]*|\b(nan|inf)\b")


class Notices:
    """Says each kind of fault once, and counts all of them; safe between threads.

    Two texts are of one kind when they differ in numbers and quoted words only.

    Args:
        say: the log, the same level in the whole process: rclpy ties a line of code to one.
        what: happened to a message, 'Image skipped' say; stands before each text.
    """

    def __init__(self, say: Callable[[str], object], what: str) -> None:
        self._say, self._what = say, what
        self._lock = threading.Lock()
        self._counts = Counter[str]()
        self._firsts: dict[str, str] = {}

    def add(self, text: str) -> bool:
        """Count one fault; return whether it is the first of its kind, which is said."""
        short = text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'
        kind = _VALUES.sub('', short)
        with self._lock:
            known = kind in self._counts
            if not known and len(self._counts) >= _KINDS:
                kind, short = '', 'for other reasons again, from now on counted only'
                known = kind in self._counts
            self._counts[kind] += 1
            self._firsts.setdefault(kind, short)
        if not known:
            self._say(f'{self._what}: {short} (said once)')
        return not known

    @property
    def total(self) -> int:
        """Number of faults so far."""
        with self._lock:
            return self._counts.total()

    def summary(self) -> str:
        """Return a line of all kinds, the most frequent first; '' when there was no fault."""
        with self._lock:
            counts, firsts = self._counts.most_common(), dict(self._firsts)
        rows = '; '.join(f'{count} times: {firsts[kind]}' for kind, count in counts)
        return f'{self._what}: {sum(n for _, n in counts)}, {rows}' if rows else ''


class States:
    """Says a trouble when it begins and when it is over, once, though it lasts or flickers.

    Troubles are of one kind as in `Notices`.

    Args:
        warn: the log of troubles.
        inform: the log of their ends.
    """

    def __init__(self, warn: Callable[[str], object], inform: Callable[[str], object]) -> None:
        self._warn, self._inform = warn, inform
        self._kind, self._open = '', False
        self._said: dict[str, float] = {}

    def tell(self, trouble: str, over: str, time_s: float) -> None:
        """Take note of the state.

        Args:
            trouble: what is wrong now; '' when nothing is.
            over: said when a trouble that was said is over.
            time_s: on a clock that never jumps [s].
        """
        kind = _VALUES.sub('', trouble)
        if kind == self._kind:
            return
        self._kind = kind
        if not kind and self._open:
            self._inform(over)
            self._open = False
        elif kind and time_s - self._said.get(kind, -_QUIET_S) >= _QUIET_S:
            self._warn(trouble)
            self._open = True
            self._said[kind] = time_s
