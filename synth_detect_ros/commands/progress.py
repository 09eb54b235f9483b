"""A progress bar on stderr that leaves lines of the log whole."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

# Where the text behind the bar has a rate of its own.
WITHOUT_RATE = '{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]'


@contextlib.contextmanager
def progress_bar(unit: str, *, rate: bool = True) -> Iterator[Callable[..., None]]:
    """Show a progress bar; yields a function of (done, total, text behind the bar).

    Args:
        unit: what is counted.
        rate: whether the bar shows units a second; not where the text does.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    bars: list[Any] = []
    start = time.time()

    def advance(done: int, total: int, text: str = '') -> None:
        if not bars:  # what an interrupted run did before does not count for the rate
            pause = 0.1 if sys.stderr.isatty() else 10  # [s]; a log file needs few lines
            bars.append(
                tqdm(
                    total=total,
                    initial=done - 1,
                    unit=unit,
                    mininterval=pause,
                    bar_format=None if rate else WITHOUT_RATE,
                )
            )
            bars[0].start_t = start
        bars[0].total = total
        bars[0].set_postfix_str(text, refresh=False)
        bars[0].update(done - bars[0].n)

    with logging_redirect_tqdm([logging.getLogger('synth_detect_ros')]):
        try:
            yield advance
        finally:
            for bar in bars:
                bar.close()
