"""One run at a time for a date."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipelines.errors import RunActive, SinkUnwritable
from pipelines.publish.leases import lease
from pipelines.publish.slots import Slot, writing
from pipelines.storage import AnyPath, HadoopPath


@contextmanager
def lock(place: Slot, every_date: bool = False) -> Iterator[None]:
    """Hold the slot for one run; the lock dies with its process, on a store that has no locks within 90 seconds.

    Args:
        every_date: hold the whole pipeline, as two dates at once could take the same new files.

    Raises:
        RunActive: another run holds it.
        SinkUnwritable: the sink cannot be written.
    """
    name = "incremental" if every_date else f"run_date={place.date}"
    path = place.root / "_control" / "locks" / f"{name}.lock"
    if isinstance(path, HadoopPath):
        with ExitStack() as held:
            with _refusing(path, place):
                held.enter_context(lease(path))
            yield
        return
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with _refusing(path, place):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def _refusing(path: AnyPath, place: Slot) -> Iterator[None]:
    """Tell a lock that another run holds from a sink that cannot be written."""
    try:
        with writing(path):
            yield
    except SinkUnwritable as error:
        if not isinstance(error.__cause__, BlockingIOError):
            raise
        which = "" if path.name.startswith("incremental") else f" for {place.date}"
        raise RunActive(
            f"another run{which} is writing to {place.root}.", hint="Wait for it to end, then run again."
        ) from None
