"""What is known of an attempt, for the systems that watch many runs; nothing that happens here changes how it ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from glob import has_magic
from itertools import takewhile
from pathlib import Path
from typing import Any

from pipelines import ledger, observability, publish, storage
from pipelines.attempt import Attempt
from pipelines.passes import Pass
from pipelines.publish import Slot
from pipelines.records import Observed, RunRecord
from pipelines.screening import quarantine_schema
from pipelines.storage import AnyPath


def begun(attempt: Attempt, place: Slot) -> None:
    """The run begins, and has something to do."""
    wanted = attempt.config.observability
    if wanted.openlineage:
        _warned(attempt, lambda: observability.begun(wanted, _seen(attempt, place, attempt.record("failed"))))


def ended(attempt: Attempt, place: Slot, record: RunRecord) -> None:
    """Export a run that has ended as ``record`` says; what could not be exported is a warning of the attempt."""
    wanted = attempt.config.observability
    if wanted.prometheus or wanted.opentelemetry or wanted.openlineage:
        _warned(attempt, lambda: observability.export(wanted, _seen(attempt, place, record)))


def schemas(the_pass: Pass) -> dict[str, dict[str, str]]:
    """Spark types by column of what is read and what is written."""
    found = {
        "input": the_pass.screen.schema,
        "predictions": the_pass.schema,
        "quarantine": quarantine_schema(the_pass.screen),
    }
    return {name: {f.name: f.dataType.simpleString() for f in schema} for name, schema in found.items()}


def _warned(attempt: Attempt, act: Callable[[], tuple[str, ...]]) -> None:
    try:
        warnings = act()
    except (
        Exception
    ) as error:  # a run that is published is published, whatever its ledger or its files say now
        warnings = (f"the run could not be exported: {type(error).__name__}: {error}",)
    for text in warnings:
        attempt.warn(text)


def _seen(attempt: Attempt, place: Slot, record: RunRecord) -> Observed:
    config, detail = attempt.config, attempt.detail
    rules = frozenset(detail.get("rules", ()))
    profile = detail.get("profile")
    return Observed(
        record=record,
        source=_dataset(str(storage.place(config.source.path)), record.run_date),
        root=str(place.root),
        stages=tuple(attempt.stages),
        last_published=_last_published(place.root, record),
        rules=rules,
        schemas=detail.get("schemas", {}),
        feeds={name: config.source.columns.get(name, name) for name in detail.get("inputs", ())},
        kept=(*config.source.key, *config.source.carry),
        profile=() if profile is None else tuple(profile.to_pylist()),
        checks=tuple(map(attempt.masking.check, detail.get("checks", ()))),
        sizes={t: _size(place.live(t)) for t in publish.TABLES} if record.status == "published" else {},
    )


def _dataset(path: str, run_date: str) -> str:
    """What the inputs of all dates have in common: the folder above the first part that names the date, or has a
    wildcard."""
    own = takewhile(lambda part: run_date not in part and not has_magic(part), path.split("/"))
    return "/".join(own) or "/"


def _last_published(root: AnyPath, record: RunRecord) -> str | None:
    known = [record]
    with suppress(OSError):  # of a sink that cannot be reached the failure is what matters
        known += ledger.history(root)
    times: list[Any] = [r.started_at for r in known if r.status == "published"]
    return max(times, key=datetime.fromisoformat, default=None)


def _size(table: AnyPath) -> tuple[int, int]:
    """Bytes and files."""
    found = storage.found(table, "**/*.parquet")
    sizes = [f.stat().st_size if isinstance(f, Path) else f.status().size for f in found]  # type: ignore[union-attr]
    return sum(sizes), len(sizes)
