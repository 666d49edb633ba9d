"""The folder of one attempt: opened, filled, audited, and removed when nothing in it is of use."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from pipelines import storage
from pipelines.publish.commits import newest_commit
from pipelines.publish.slots import UNITS, Slot, Staging, leftovers, writing
from pipelines.storage import AnyPath


def open_staging(place: Slot, run_id: str, work: str = "any") -> Staging:
    """A new folder for this attempt, never one that was used before. Units that an earlier attempt at the same work
    has committed move into it; those of other work are removed. Needs the lock.

    Args:
        work: says by which code the units were made; those of other code are not taken over.
    """
    folder = place.root / "_work" / f"run_date={place.date}~{run_id}~{uuid.uuid4().hex[:8]}"
    with writing(folder):
        earlier = [f for f in leftovers(place) if (f / UNITS).is_dir()]
        folder.mkdir(parents=True)
        staging = Staging(place, run_id, folder, storage.identity(folder), work)
        for leftover in earlier:
            units = leftover / UNITS / work
            if leftover.name.startswith(f"run_date={place.date}~{run_id}~") and units.is_dir():
                staging.units.parent.mkdir(exist_ok=True)
                if not staging.units.exists():
                    storage.rename(units, staging.units)
            storage.remove(leftover)
    return staging


def stage(frame: DataFrame, staging: Staging, partition: str) -> None:
    """Run the plan: the one big job. Spark writes into a folder that nothing else uses."""
    frame.write.partitionBy(partition).mode("error").parquet(storage.uri(staging.written))


def collect_table(staging: Staging, table: str, files: Sequence[AnyPath], empty: pa.Schema) -> int:
    """Take ``files`` as a staged table; returns the rows their footers count.

    A table without rows still gets one file, so that readers find its schema.
    """
    target = staging.table(table)
    with writing(target):
        target.mkdir(parents=True)
        rows = sum(storage.each(footer_rows, files))
        parts = [(f, target / f"part-{number:05d}.parquet") for number, f in enumerate(files)]
        storage.each(lambda pair: storage.adopt(*pair), parts)
        if not files:
            _write(empty.empty_table(), target / "part-00000.parquet")
    return rows


def write_table(staging: Staging, table: str, content: pa.Table) -> None:
    """Stage a small table that the driver holds."""
    target = staging.table(table)
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        _write(content, target / "part-00000.parquet")


def footer_rows(file: AnyPath) -> int:
    """The rows that a Parquet file's footer counts."""
    with file.open("rb") as raw:
        return int(pq.read_metadata(raw).num_rows)


def _write(content: pa.Table, file: AnyPath) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(content, buffer)
    file.write_bytes(buffer.getvalue().to_pybytes())


def discard(staging: Staging, keep_quarantine: bool, keep_units: bool = False) -> AnyPath | None:
    """Remove a staging folder; where the quarantine is kept it moves to ``refused/``, whose path is returned. Units
    are kept where another attempt can go on from them.

    What is committed already stays: :func:`recover` finishes it.
    """
    place, kept = staging.slot, None
    if _committed(staging):
        return None
    source = staging.table("quarantine")
    if keep_quarantine and source.is_dir():
        kept = place.root / "refused" / f"run_date={place.date}" / source.name
        with writing(kept):
            storage.remove(kept)
            kept.parent.mkdir(parents=True, exist_ok=True)
            storage.rename(source, kept)
    if keep_units and any(staging.units.glob("[!.]*")):
        for part in staging.folder.iterdir():
            if part.name != UNITS:
                storage.remove(part)
    else:
        storage.remove(staging.folder)
    return kept


def _committed(staging: Staging) -> bool:
    record = newest_commit(staging.slot)
    ours = storage.below(staging.folder, staging.slot.root)
    return record is not None and any(e["folder"].startswith(f"{ours}/") for e in record["tables"].values())
