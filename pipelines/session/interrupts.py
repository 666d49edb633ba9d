"""An operation of a Spark Connect server that is stopped: not before the server has begun a job for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pyspark.sql import SparkSession

from pipelines.session.platform import is_remote

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 10.0  # seconds; a server that tells nothing in that time is asked nonetheless


@contextmanager
def interruptible(spark: SparkSession) -> Iterator[None]:
    """Around one long operation. On a Connect server a signal of the main thread is handled as soon as tasks run,
    or as the operation ends, or after ten seconds; a second one at once. Elsewhere nothing is changed.

    A server interrupts an operation once, by interrupting its thread. Until that thread waits for a job it may be in
    code that takes an interrupt for its own, as Hadoop's does when it waits for a shell; the job then begins all the
    same, and no client can end it any more. That tasks run is told every two seconds, with the progress.
    """
    if not is_remote(spark) or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: old for n in _SIGNALS if callable(old := signal.getsignal(n))}
    waiting = _Waiting(before)
    with ExitStack() as leaving:  # in reverse; each is done whatever another raises
        leaving.callback(waiting.handle)
        for number in before:
            leaving.callback(waiting.put_back, number)
        leaving.callback(spark.removeProgressHandler, waiting.progress)
        leaving.callback(waiting.end)
        spark.registerProgressHandler(waiting.progress)
        for number in before:
            signal.signal(number, waiting.asked)
        yield


class _Waiting:
    def __init__(self, handlers: dict[signal.Signals, Any]) -> None:
        self._handlers = handlers
        self._over = False
        self._running = False
        self._number: int | None = None  # of the signal that waits
        self._patience: threading.Timer | None = None

    def asked(self, number: int, frame: Any) -> None:
        """Handles a signal."""
        at_once = self._running or self._number is not None
        self._number = number
        if self._over:
            return
        if at_once:
            self.handle()
        else:
            self._patience = threading.Timer(_PATIENCE, signal.pthread_kill, (threading.get_ident(), number))
            self._patience.daemon = True
            self._patience.start()

    def progress(self, *, inflight_tasks: int, done: bool, **_: Any) -> None:
        """Spark tells how far the operation is: for the first time when it knows of tasks. The operations of other
        threads tell it as well."""
        if threading.current_thread() is threading.main_thread():
            self._running = inflight_tasks > 0 and not done
            if self._running:
                self.handle()

    def end(self) -> None:
        """From here on a signal is kept for :meth:`handle`."""
        self._over = True

    def put_back(self, number: signal.Signals) -> None:
        """The handler of before, unless the signal was handled: then a second one is told of what that put there."""
        if signal.getsignal(number) == self.asked:
            signal.signal(number, self._handlers[number])

    def handle(self) -> None:
        """Let the handler of before have the signal that waits, if there is one; it may raise."""
        number, self._number = self._number, None
        patience, self._patience = self._patience, None
        if patience is not None:
            patience.cancel()
        if number is not None:
            self._handlers[signal.Signals(number)](number, None)
