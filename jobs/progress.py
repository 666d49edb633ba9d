"""For a person at a terminal: a progress bar while Spark works, and a table of what came of it. For others, nothing."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from pipelines.config import Config
    from pipelines.terminal import Reading

PERIOD = 0.5  # seconds between two looks


@contextmanager
def watched(
    config: Config, stream: TextIO, look: Callable[[], Reading | None] | None = None, period: float = PERIOD
) -> Iterator[None]:
    """Show how far the run of ``config`` is, on ``stream`` if that is a terminal, as long as the block lasts."""
    if not stream.isatty():
        yield
        return
    if look is None:
        from pipelines.terminal import watcher

        look = watcher(config)
    stop, bar = threading.Event(), Bar(stream)
    thread = threading.Thread(target=_watch, args=(bar, look, stop, period), daemon=True)
    thread.start()
    with _on_lines_of_their_own(bar):
        try:
            yield
        finally:
            stop.set()
            thread.join(5)  # a JVM that is gone does not answer
            bar.clear()


def told(record: Mapping[str, Any], stream: TextIO) -> None:
    """A finished run as a small table, on ``stream`` if that is a terminal; nothing of a run that has no record."""
    if stream.isatty() and "name" in record:
        from pipelines.records import RunRecord
        from pipelines.terminal import table

        print(table(RunRecord.from_dict(record)), file=stream, flush=True)


class Bar:
    """One line that is drawn again and again: tasks done, rows, rows per second, time to go."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._stage: int | None = None
        self._since, self._before = 0.0, 0
        self._drawn = False
        self._lock = threading.Lock()  # log lines are written by other threads

    def show(self, now: Reading | None) -> None:
        """Draw; None takes the line away."""
        if now is None:
            self.clear()
            return
        if now.stage != self._stage:
            # what an earlier attempt has left was not done in this time
            self._stage, self._since, self._before = now.stage, self._clock(), now.rows
        line = _line(now, self._clock() - self._since, now.rows - self._before)
        with self._lock:
            self._stream.write(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K")
            self._stream.flush()
            self._drawn = True

    def clear(self) -> None:
        """Take the line away, so that something else can be written; the next ``show`` draws it again."""
        with self._lock:
            if self._drawn:
                self._stream.write("\r\x1b[K")
                self._stream.flush()
            self._drawn = False


def _line(now: Reading, elapsed: float, rows: int) -> str:
    """The bar by tasks; ``elapsed`` seconds since the stage was first seen, in which ``rows`` were read."""
    said = [f"{now.done}/{now.tasks} tasks"]
    if now.rows:
        said.append(f"{now.rows:,} rows")
    if rows and elapsed > 0:
        said.append(f"{rows / elapsed:,.0f} rows/s")
    if 0 < now.done < now.tasks:
        left = round(elapsed * (now.tasks - now.done) / now.done)
        said.append(f"{left // 60}:{left % 60:02} to go")
    bar = click.progressbar(
        length=now.tasks, label="scoring", hidden=True, show_eta=False, show_percent=False
    )
    bar.update(now.done)
    return f"{bar.format_progress_line()}  {', '.join(said)}"


def _watch(bar: Bar, look: Callable[[], Reading | None], stop: threading.Event, period: float) -> None:
    while not stop.wait(period):
        try:
            bar.show(look())
        except (
            Exception
        ) as error:  # Spark is about to begin, or has ended; no run fails because nobody can watch it
            logging.getLogger("scoreline").debug("no progress to show: %s", type(error).__name__)


@contextmanager
def _on_lines_of_their_own(bar: Bar) -> Iterator[None]:
    """Log lines take the bar away before they are written."""

    def make_room(_: logging.LogRecord) -> bool:
        bar.clear()
        return True

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(make_room)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(make_room)
