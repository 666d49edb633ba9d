"""What a person at a terminal is shown of a run: how far Spark is, and in the end what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipelines import publish, storage
from pipelines.config import Config
from pipelines.records import RunRecord
from pipelines.report.figures import clip, count, percent, seconds
from pipelines.report.words import headline, quarantined_share

REASONS = 8  # lines for reasons of the quarantine, the most frequent first
_NAMES = 8


@dataclass(frozen=True)
class Reading:
    """How far the job is, by Spark's own task metrics.

    ``rows`` are those of tasks that have ended (Spark 4.1 reports no rows of running ones), or those in units that
    workers have committed, where the workers read for themselves; 0 where neither is known yet.
    """

    stage: int
    tasks: int
    done: int
    rows: int


def reading(name: str) -> Reading | None:
    """The largest stage that is at work for the pipeline ``name`` in this process, or None."""
    from pyspark import SparkContext  # --help does not wait for it

    context = SparkContext._active_spark_context
    if context is None:
        return None
    tracker = context.statusTracker()
    jobs = set(tracker.getActiveJobsIds()) & set(tracker.getJobIdsForGroup(f"scoreline:{name}"))
    found = [r for job in jobs for r in _stages(context, tracker.getJobInfo(job))]
    return max(found, key=lambda r: (r.tasks, r.stage), default=None)


def watcher(config: Config) -> Callable[[], Reading | None]:
    """What :func:`reading` says of the run of ``config``, with the rows of its committed units."""
    from pipelines.scoring.units import ROWS, Rows

    place = publish.slot(config.sink.path, config.name, config.run_date.isoformat())
    if isinstance(
        place.root, storage.HadoopPath
    ):  # looking there twice a second would cost more than it tells
        return lambda: reading(config.name)
    known: dict[storage.AnyPath, int] = {}

    def committed() -> int:
        for file in (place.root / "_work").glob(f"run_date={place.date}~*/units/**/{ROWS}"):
            if file not in known:
                known[file] = Rows(**json.loads(file.read_text())).read
        return sum(known.values())

    def look() -> Reading | None:
        now = reading(config.name)
        return now and replace(now, rows=max(now.rows, committed()))

    return look


def _stages(context: Any, job: Any) -> Iterator[Reading]:
    store = context._jsc.sc().statusStore()
    for number in job.stageIds if job else ():
        stage = store.lastStageAttempt(number)
        if stage.status().toString() == "ACTIVE":
            yield Reading(number, stage.numTasks(), stage.numCompleteTasks(), stage.inputRecords())


def table(record: RunRecord) -> str:
    """A finished run in a few aligned lines."""
    lines = [("", f"{record.name} {record.run_date}: {headline(record)}"), *_rows(record)]
    if record.drift.get("status") not in (None, "none"):
        lines.append(("drift", _drift(record)))
    if (total := record.seconds.get("total")) is not None:
        speed = f", {count(record.rows_per_second)} rows/s" if record.rows_per_second else ""
        lines.append(("time", f"{seconds(total)}{speed}"))
    lines += [("warning", clip(w, 200)) for w in record.warnings]
    if record.error:
        lines += [
            ("error", clip(record.error.get("message"), 400)),
            ("to do", clip(record.error.get("hint"), 200)),
        ]
    if page := record.paths.get("report"):
        lines.append(("page", clip(page, 400)))
    return "\n".join(f"  {label:<12} {text}" if label else text for label, text in lines)


def _rows(record: RunRecord) -> Iterator[tuple[str, str]]:
    rows = record.rows
    width = max((len(count(n)) for n in rows.values()), default=0)
    for key in ("read", "scored", "quarantined"):
        if key in rows:
            share = f"  {percent(quarantined_share(record))}" if key == "quarantined" and rows[key] else ""
            yield key, f"{count(rows[key]):>{width}}{share}"
    by = sorted(record.quarantined_by.items(), key=lambda item: (-item[1], item[0]))
    for name, n in by[:REASONS]:
        yield "", f"  {'':<12} {count(n):>{width}}  {clip(name, 80)}"
    if len(by) > REASONS:
        yield "", f"  {'':<12} {'':>{width}}  and {len(by) - REASONS} more reasons"


def _drift(record: RunRecord) -> str:
    names = list(record.drift.get("columns") or ())
    if not names:
        return "too little data" if record.drift["status"] == "insufficient_data" else "none"
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(clip(n, 40) for n in names[:_NAMES]) + more
