"""A lock on a store that has none: a file that its holder writes again and again.

Whoever finds a lease that has not been renewed for ``EXPIRY`` seconds takes it over. Ages are differences between two
times of the store's own clock. A holder that slept longer than that has lost it without knowing; what it may still do
is decided by the commit record, which one of two puts, as with any lock.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipelines.storage import HadoopPath, put_new

BEAT, EXPIRY = 15.0, 90.0  # seconds


@contextmanager
def lease(path: HadoopPath, beat: float = BEAT, expiry: float = EXPIRY) -> Iterator[None]:
    """Hold the lease at ``path`` for the block.

    Raises:
        BlockingIOError: somebody alive holds it.
    """
    mine = uuid.uuid4().hex.encode()
    _take(path, mine, expiry)
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(path, mine, beat, ended), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join(beat)
        with suppress(OSError):
            if _is(path, mine):
                path.unlink(missing_ok=True)


def _take(path: HadoopPath, mine: bytes, expiry: float) -> None:
    try:
        put_new(path, mine)
    except FileExistsError:
        if _age(path, mine) < expiry:
            raise BlockingIOError(11, "held by another run", str(path)) from None
    else:
        return
    aside = path.with_name(f".{path.name}.{mine.decode()}")
    try:
        path.rename(aside)  # of several who find it expired, one
        put_new(path, mine)
    except OSError:
        raise BlockingIOError(11, "held by another run", str(path)) from None
    finally:
        aside.unlink(missing_ok=True)


def _age(path: HadoopPath, mine: bytes) -> float:
    """Seconds since the lease was renewed, by the store's clock; 0 where it has just been given back."""
    probe = path.with_name(f".{path.name}.now.{mine.decode()}")
    probe.write_bytes(b"")
    try:
        now, then = probe.status(), path.status()
        return 0.0 if now is None or then is None else (now.modified - then.modified) / 1000
    finally:
        probe.unlink(missing_ok=True)


def _keep(path: HadoopPath, mine: bytes, beat: float, ended: threading.Event) -> None:
    while not ended.wait(beat):
        with suppress(OSError):
            if not _is(path, mine):
                return
            path.write_bytes(mine)


def _is(path: HadoopPath, mine: bytes) -> bool:
    """Whether it is still ours; while it is being renewed it is empty for an instant, which only we do."""
    try:
        return path.read_bytes() in (mine, b"")
    except FileNotFoundError:
        return False
