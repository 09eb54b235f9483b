"""A thread that works on the latest item only, so that nothing queues up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

ItemT = TypeVar('ItemT')
_log = logging.getLogger(__name__)


class LatestOnlyWorker(Generic[ItemT]):
    """A worker thread with a one-slot mailbox: a newer item replaces one that still waits.

    So an item waits for one call of `work` at most, however fast items come. The thread outlives
    whatever an item does to it.

    Args:
        work: called in the thread with one item at a time; what it raises is logged.
        name: of the thread, for debuggers.
    """

    def __init__(self, work: Callable[[ItemT], None], name: str) -> None:
        self._work = work
        self._slot: ItemT | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: ItemT) -> bool:
        """Put an item into the mailbox.

        Returns:
            False when it replaced an item that still waited.
        """
        with self._changed:
            empty = self._slot is None
            self._slot = item
            self._changed.notify()
        return empty

    def stop(self) -> None:
        """Finish the current item, drop the one that waits, end the thread."""
        with self._changed:
            self._stopping = True
            self._slot = None
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._slot is not None)
                if self._stopping:
                    return
                item, self._slot = self._slot, None
            if item is not None:
                self._try(item)

    def _try(self, item: ItemT) -> None:
        try:
            self._work(item)
        except Exception:
            _log.exception('%s failed; it goes on with the next item', self._thread.name)
