"""A table that is derived from what is published, and no part of its commit: replaced alone, at one instant."""

from __future__ import annotations

from pipelines import storage
from pipelines.publish.exchange import swap
from pipelines.publish.slots import Staging, require_same, writing
from pipelines.storage import AnyPath


def replace_table(staging: Staging, table: str) -> AnyPath:
    """Make one staged table current; returns where it is. Needs the lock.

    Raises:
        SinkUnwritable: the sink cannot be written, or went away since the staging was opened.
    """
    require_same(staging)
    live = staging.slot.live(table)
    with writing(live):
        live.parent.mkdir(parents=True, exist_ok=True)
        swap(staging.folder / "tables" / table, live)
        storage.remove(staging.folder)
    return live
