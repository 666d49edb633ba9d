"""The commit record of a date: numbered, put if absent, the one decision; and the renames that follow from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipelines import storage
from pipelines.errors import RunActive, SinkUnwritable
from pipelines.publish.exchange import swap
from pipelines.publish.slots import TABLES, UNITS, Slot, Staging, leftovers, require_same, writing
from pipelines.storage import AnyPath

_MANY = 1000  # units


def recover(place: Slot, force: bool = False) -> Mapping[str, Any] | None:
    """Finish or forget what an earlier run left; the newest commit record, or None. Needs the lock.

    Args:
        force: the date is about to be published anew: what cannot be finished is no obstacle.

    Raises:
        SinkUnwritable: somebody removed what was committed.
    """
    with writing(place.root):
        record = newest_commit(place)
        if record is not None:
            try:
                _swap_all(place, record)
            except SinkUnwritable:
                if not force:
                    raise
        for leftover in leftovers(place):
            if (record is not None and not force) or not (leftover / UNITS).is_dir():
                storage.remove(leftover)
    return record


def newest_commit(place: Slot) -> Mapping[str, Any] | None:
    """The record that says what is published for this date."""
    found = storage.found(place.commits, "[0-9]*.json")
    return json.loads(found[-1].read_text("utf-8")) if found else None


def promote(staging: Staging, base: Mapping[str, Any] | None, content: Mapping[str, Any]) -> None:
    """Publish: the commit record, then one atomic rename per table.

    Args:
        base: the newest commit record seen when the run began.

    Raises:
        RunActive: somebody else has committed since.
        SinkUnwritable: the sink was unmounted or removed since, so that this is another folder of its name.
    """
    place = staging.slot
    require_same(staging)
    version = (base["version"] if base else 0) + 1
    folders = {t: staging.folder / "tables" / t for t in TABLES}
    record = {
        **content,
        "version": version,
        "run_id": staging.run_id,
        "tables": {
            t: {"folder": storage.below(f, place.root), "inode": _inode(f)} for t, f in folders.items()
        },
    }
    with writing(place.root):
        put_if_absent(place.commits / f"{version:08d}.json", json.dumps(record, indent=1))
        _swap_all(place, record)
        _remove(staging.folder)


def _remove(folder: AnyPath) -> None:
    """Remove a staging folder; many units several at a time, as on a store that is far away each is a wait."""
    units = storage.found(folder / UNITS, "*/*") if isinstance(folder, Path) else []
    if len(units) > _MANY:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(storage.remove, units))
    storage.remove(folder)


def put_if_absent(path: AnyPath, text: str) -> None:
    """Create a whole file or fail; no reader ever sees a part of it.

    Raises:
        RunActive: the file exists.
    """
    try:
        storage.put_new(path, text.encode())
    except FileExistsError:
        raise RunActive(
            f"{path.name}: another run has committed this date.", hint="Look at its record."
        ) from None


def _inode(folder: AnyPath) -> int | None:
    found = storage.identity(folder)
    return None if found is None else found[1]


def _swap_all(place: Slot, record: Mapping[str, Any]) -> None:
    """Make every table of a commit visible. Repeatable: a table that is live already is left alone."""
    for table in TABLES:
        entry, run = record["tables"][table], f"run_id={record['run_id']}"
        live, staged = place.live(table), place.root / entry["folder"]
        if entry["inode"] is not None and live.is_dir() and _inode(live) == entry["inode"]:
            continue
        if (staged / run).is_dir():
            live.parent.mkdir(parents=True, exist_ok=True)
            swap(staged, live)
        elif not (live / run).is_dir():  # it is there under another inode where the sink was copied
            raise SinkUnwritable(
                f"{staged}: committed but no longer there, so that {live} cannot be made current.",
                hint="Publish the date again with --force.",
            )
