"""The run ledger: one record per attempt, whatever its outcome, and the states that later runs compare with."""

from __future__ import annotations

import json
import logging

from pipelines import storage
from pipelines.records import RunRecord
from pipelines.storage import AnyPath

log = logging.getLogger(__name__)


def write(root: AnyPath, record: RunRecord) -> AnyPath:
    """Add a record to the ledger; it is whole or not there."""
    stamp = record.started_at.replace(":", "").replace("-", "")
    path = root / "runs" / f"run_date={record.run_date}" / f"{stamp}-{record.run_id}.json"
    storage.replace(path, json.dumps(record.to_dict(), indent=1).encode())
    return path


def history(root: AnyPath) -> tuple[RunRecord, ...]:
    """All records, oldest first; a file that is no record is left out, with a warning."""
    files = sorted(storage.found(root / "runs", "run_date=*/*.json"), key=lambda p: p.name)
    return tuple(record for p in files if (record := _read(p)) is not None)


def _read(path: AnyPath) -> RunRecord | None:
    try:
        return RunRecord.from_dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, AttributeError) as error:
        log.warning("%s is not a run record: %s", path, error)
        return None


def last_published(root: AnyPath, before: str) -> RunRecord | None:
    """The published run of the latest date before ``before`` (ISO). Of several attempts, the one that the date's
    commit record names: a clock may have gone back between them."""
    published = [r for r in history(root) if r.status == "published" and r.run_date < before]
    latest = [r for r in published if r.run_date == max(r.run_date for r in published)]
    committed = _committed(root, latest[0].run_date) if latest else None
    return max(latest, key=lambda r: (r.run_id == committed, r.started_at), default=None)


def _committed(root: AnyPath, run_date: str) -> str | None:
    commits = storage.found(root / "_control" / "commits" / f"run_date={run_date}", "[0-9]*.json")
    return json.loads(commits[-1].read_text("utf-8"))["run_id"] if commits else None


def profile_path(root: AnyPath, run_date: str, run_id: str) -> AnyPath:
    """Where the profile state of a run is kept, for comparison with later runs."""
    return root / "runs" / f"run_date={run_date}" / f"{run_id}.profile"
