"""The run ledger: one record per attempt, whatever its outcome, and the states that later runs compare with."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

from pipelines.records import RunRecord


def write(root: Path, record: RunRecord) -> Path:
    """Add a record to the ledger; it is whole or not there."""
    stamp = record.started_at.replace(":", "").replace("-", "")
    path = root / "runs" / f"run_date={record.run_date}" / f"{stamp}-{record.run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path, json.dumps(record.to_dict(), indent=1).encode())
    return path


def put(path: Path, content: bytes) -> None:
    """Write a file at one instant, replacing what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def history(root: Path) -> tuple[RunRecord, ...]:
    """All records, oldest first."""
    files = sorted((root / "runs").glob("run_date=*/*.json"), key=lambda p: p.name)
    return tuple(RunRecord.from_dict(json.loads(p.read_text("utf-8"))) for p in files)


def last_published(root: Path, before: str) -> RunRecord | None:
    """The published run of the latest date before ``before`` (ISO); of several attempts, the newest."""
    published = [r for r in history(root) if r.status == "published" and r.run_date < before]
    return max(published, key=lambda r: (r.run_date, r.started_at), default=None)


def profile_path(root: Path, run_date: str, run_id: str) -> Path:
    """Where the profile state of a run is kept, for comparison with later runs."""
    return root / "runs" / f"run_date={run_date}" / f"{run_id}.profile"
