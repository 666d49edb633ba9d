"""One run at a time for a date."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import RunActive, SinkUnwritable
from pipelines.publish.slots import Slot, writing


@contextmanager
def lock(place: Slot, every_date: bool = False) -> Iterator[None]:
    """Hold the slot for one run; the lock dies with its process.

    Args:
        every_date: hold the whole pipeline, as two dates at once could take the same new files.

    Raises:
        RunActive: another run holds it.
        SinkUnwritable: the sink cannot be written.
    """
    name = "incremental" if every_date else f"run_date={place.date}"
    path = place.root / "_control" / "locks" / f"{name}.lock"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(handle, path, place)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path, place: Slot) -> None:
    try:
        with writing(path):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except SinkUnwritable as error:
        if not isinstance(error.__cause__, BlockingIOError):
            raise
        raise RunActive(
            f"another run{'' if path.stem == 'incremental' else f' for {place.date}'} is writing to {place.root}.",
            hint="Wait for it to end, then run again.",
        ) from None
