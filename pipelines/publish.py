"""Write-audit-publish on plain Parquet: stage beside, audit what is there, promote by one rename.

The truth is the commit record: numbered, put if absent, written before anything becomes visible. A run that
dies is finished (commit record there) or forgotten (not there) by the next one that takes the same lock.
Folders below ``_work`` and ``_control`` are never below a table's root, so that no reader can see them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from pipelines.errors import ConfigInvalid, RunActive, SinkUnwritable

TABLES = ("quarantine", "profile_metrics", "drift_metrics", "predictions")  # predictions become visible last
_UNITS = "units"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True)
class Slot:
    """The place of one logical date in a sink; ``root`` is ``<sink.path>/<name>``."""

    root: Path
    date: str

    def live(self, table: str) -> Path:
        return self.root / table / f"run_date={self.date}"

    @property
    def commits(self) -> Path:
        return self.root / "_control" / "commits" / f"run_date={self.date}"


@dataclass(frozen=True)
class Staging:
    """A folder of one attempt; ``written`` is where Spark writes, ``tables`` what will be promoted.

    ``identity`` is the folder's device and inode: Spark makes the folder again where the sink went away.
    """

    slot: Slot
    run_id: str
    folder: Path
    identity: tuple[int, int]
    work: str = "any"

    @property
    def written(self) -> Path:
        return self.folder / "written"

    @property
    def units(self) -> Path:
        """Where workers commit what they have scored; a later attempt at the same run goes on from there."""
        return self.folder / _UNITS / self.work

    def table(self, name: str) -> Path:
        return self.folder / "tables" / name / f"run_id={self.run_id}"


def slot(sink: str, name: str, date: str) -> Slot:
    """Raises ConfigInvalid for a sink on a remote store, whose renames are not atomic."""
    path = sink.removeprefix("file://")
    if "://" in path:
        raise ConfigInvalid(
            f"sink.path: {sink!r} is on a remote store, expected a path that is mounted on every machine.",
            hint="Mount it (/Volumes, NFS, s3fs) and give the mounted path.",
        )
    return Slot(Path(path).absolute() / name, date)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals below a sink into one error with a next step."""
    try:
        yield
    except OSError as error:
        raise SinkUnwritable(
            f"sink.path: cannot write {str(error.filename or path)!r}: {error.strerror or error}.",
            hint="Check its permissions, that it is mounted, and that its disk has room.",
        ) from error


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
        for leftover in _leftovers(place):
            if (record is not None and not force) or not (leftover / _UNITS).is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
    return record


def _leftovers(place: Slot) -> list[Path]:
    return sorted((place.root / "_work").glob(f"run_date={place.date}~*"))


def newest_commit(place: Slot) -> Mapping[str, Any] | None:
    """The record that says what is published for this date."""
    found = sorted(place.commits.glob("[0-9]*.json"))
    return json.loads(found[-1].read_text("utf-8")) if found else None


def open_staging(place: Slot, run_id: str, work: str = "any") -> Staging:
    """A new folder for this attempt, never one that was used before. Units that an earlier attempt at the same work
    has committed move into it; those of other work are removed. Needs the lock.

    Args:
        work: says by which code the units were made; those of other code are not taken over.
    """
    folder = place.root / "_work" / f"run_date={place.date}~{run_id}~{uuid.uuid4().hex[:8]}"
    with writing(folder):
        earlier = [f for f in _leftovers(place) if (f / _UNITS).is_dir()]
        folder.mkdir(parents=True)
        staging = Staging(place, run_id, folder, _identity(folder), work)
        for leftover in earlier:
            units = leftover / _UNITS / work
            if leftover.name.startswith(f"run_date={place.date}~{run_id}~") and units.is_dir():
                staging.units.parent.mkdir(exist_ok=True)
                if not staging.units.exists():
                    os.rename(units, staging.units)
            shutil.rmtree(leftover, ignore_errors=True)
    return staging


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def stage(frame: DataFrame, staging: Staging, partition: str) -> None:
    """Run the plan: the one big job. Spark writes into a folder that nothing else uses."""
    frame.write.partitionBy(partition).mode("error").parquet(f"file://{staging.written}")


def collect_table(staging: Staging, table: str, files: Sequence[Path], empty: pa.Schema) -> int:
    """Take ``files`` as a staged table; returns the rows their footers count.

    A table without rows still gets one file, so that readers find its schema.
    """
    target = staging.table(table)
    with writing(target):
        target.mkdir(parents=True)
        rows = 0
        for number, file in enumerate(files):
            rows += pq.read_metadata(file).num_rows
            os.link(file, target / f"part-{number:05d}.parquet")
        if not files:
            pq.write_table(empty.empty_table(), target / "part-00000.parquet")
    return rows


def write_table(staging: Staging, table: str, content: pa.Table) -> None:
    """Stage a small table that the driver holds."""
    target = staging.table(table)
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, target / "part-00000.parquet")


def promote(staging: Staging, base: Mapping[str, Any] | None, content: Mapping[str, Any]) -> None:
    """Publish: the commit record, then one atomic rename per table.

    Args:
        base: the newest commit record seen when the run began.

    Raises:
        RunActive: somebody else has committed since.
        SinkUnwritable: the sink was unmounted or removed since, so that this is another folder of its name.
    """
    place = staging.slot
    _require_same(staging)
    version = (base["version"] if base else 0) + 1
    folders = {t: staging.folder / "tables" / t for t in TABLES}
    record = {
        **content,
        "version": version,
        "run_id": staging.run_id,
        "tables": {
            t: {"folder": str(f.relative_to(place.root)), "inode": f.stat().st_ino}
            for t, f in folders.items()
        },
    }
    with writing(place.root):
        put_if_absent(place.commits / f"{version:08d}.json", json.dumps(record, indent=1))
        _swap_all(place, record)
        shutil.rmtree(staging.folder, ignore_errors=True)


def _require_same(staging: Staging) -> None:
    with writing(staging.folder):
        if _identity(staging.folder) != staging.identity:
            raise SinkUnwritable(
                f"{staging.folder}: is not the folder in which this run began; the sink went away meanwhile.",
                hint="Check that it is mounted, then run again.",
            )


def put_if_absent(path: Path, text: str) -> None:
    """Create a whole file or fail; no reader ever sees a part of it.

    Raises:
        RunActive: the file exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise RunActive(
            f"{path.name}: another run has committed this date.", hint="Look at its record."
        ) from None
    finally:
        temporary.unlink()


def discard(staging: Staging, keep_quarantine: bool, keep_units: bool = False) -> Path | None:
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
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(parents=True, exist_ok=True)
            os.rename(source, kept)
    if keep_units and any(staging.units.glob("[!.]*")):
        for part in staging.folder.iterdir():
            if part.name != _UNITS:
                shutil.rmtree(part, ignore_errors=True)
    else:
        shutil.rmtree(staging.folder, ignore_errors=True)
    return kept


def _committed(staging: Staging) -> bool:
    record = newest_commit(staging.slot)
    ours = str(staging.folder.relative_to(staging.slot.root))
    return record is not None and any(e["folder"].startswith(f"{ours}/") for e in record["tables"].values())


def _swap_all(place: Slot, record: Mapping[str, Any]) -> None:
    """Make every table of a commit visible. Repeatable: a table that is live already is left alone."""
    for table in TABLES:
        entry, run = record["tables"][table], f"run_id={record['run_id']}"
        live, staged = place.live(table), place.root / entry["folder"]
        if live.is_dir() and live.stat().st_ino == entry["inode"]:
            continue
        if (staged / run).is_dir():
            live.parent.mkdir(parents=True, exist_ok=True)
            _swap(staged, live)
        elif not (live / run).is_dir():  # it is there under another inode where the sink was copied
            raise SinkUnwritable(
                f"{staged}: committed but no longer there, so that {live} cannot be made current.",
                hint="Publish the date again with --force.",
            )


def _swap(staged: Path, live: Path) -> None:
    """``live`` becomes what ``staged`` is, at one instant where the file system can exchange two names."""
    if not live.exists():
        os.rename(staged, live)
        return
    if _exchange(staged, live):
        return
    aside = staged.with_name(staged.name + "~old")  # no exchange here: for an instant the date is not there
    os.rename(live, aside)
    os.rename(staged, live)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at one instant; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # not Linux, or a C library without it
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(code, os.strerror(code), str(other))
    return False
