"""A call of the model that takes too long is ended."""

from __future__ import annotations

import faulthandler
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_GRACE = 10.0  # seconds that native code has to come back after its time is over


class TooSlow(BaseException):
    """The model has not answered in time. No ``Exception``, so that no model's own handler swallows it."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooSlow where the block takes longer, and end the process where native code never comes back.

    Only the main thread of a process, where Spark runs its workers, can be interrupted.
    """
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(seconds + _GRACE, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()
