"""What a run leaves: staged tables, the ledger's record, the page, the MLflow run."""

from __future__ import annotations

import html
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import drift as statistics
from pipelines import ledger, metric_tables, publish, report, tracking
from pipelines.attempt import Attempt, mask
from pipelines.errors import DataRefused, DriftBlocked, ScorelineError, Stopped
from pipelines.passes import Measured, Pass
from pipelines.profiles import TableProfile
from pipelines.publish import Slot, Staging
from pipelines.records import ResolvedModel, RunDetail, RunRecord

log = logging.getLogger("scoreline")
EXAMPLES = 10
_STATUS: Mapping[type, str] = {DataRefused: "refused", DriftBlocked: "blocked"}
_OF_COMMIT = ("run_id", "model", "inputs", "rows", "quarantined_by", "checks", "drift", "paths")


def identity(model: ResolvedModel) -> dict[str, Any]:
    """The model's part of the record."""
    keys = ("name", "version", "alias", "digest", "flavor", "uri")
    return {k: getattr(model, k) for k in keys}


def collect(attempt: Attempt, the_pass: Pass, staging: Staging) -> dict[str, int]:
    """Stage both tables of rows; rows by table, as their footers count them."""
    counts = the_pass.collect(staging)
    attempt.facts["quarantined_by"], attempt.detail["examples"] = _reasons(staging, the_pass)
    return counts


def _reasons(staging: Staging, the_pass: Pass) -> tuple[dict[str, int], tuple[Mapping[str, Any], ...]]:
    """How many rows each critical rule sent away, and a few of them with their values."""
    warned = {r.name for r in (*the_pass.screen.before, *the_pass.screen.after) if not r.critical}
    counts: Counter[str] = Counter()
    examples: list[Mapping[str, Any]] = []
    for file in sorted(staging.table("quarantine").glob("*.parquet")):
        parquet = pq.ParquetFile(file)
        for batch in parquet.iter_batches(columns=["reasons"]):
            for item in pc.value_counts(pc.list_flatten(batch.column(0))).to_pylist():
                if item["values"] not in warned:
                    counts[item["values"]] += item["counts"]
        if len(examples) < EXAMPLES and parquet.metadata.num_rows:
            first = next(parquet.iter_batches(batch_size=EXAMPLES - len(examples)))
            examples += [_example(row) for row in first.to_pylist()]
    return dict(sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))), tuple(examples)


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    ours = ("stage", "reasons", "source_file")
    values = {k: v for k, v in row.items() if k not in (*ours, "model_id") and v is not None}
    return {**{k: row[k] for k in ours}, "row": values}


def metrics(
    attempt: Attempt,
    model: ResolvedModel,
    measured: Measured,
    against: TableProfile | None,
    findings: Any,
    staging: Staging,
    the_pass: Pass,
) -> None:
    """Stage both metric tables; note what the workers cost."""
    state, day = measured.state, attempt.config.run_date
    profile = state.profile or TableProfile.empty(())
    tables = {
        "profile_metrics": metric_tables.profile_metrics(profile, run_date=day, model_id=model.model_id),
        "drift_metrics": metric_tables.drift_metrics(findings, run_date=day, model_id=model.model_id),
    }
    for name, table in tables.items():
        publish.write_table(staging, name, table)
    attempt.facts["peak_worker_rss_mb"] = round(state.peak_rss_mb, 1)
    attempt.facts["spark"] = {
        "engine": the_pass.name,
        "resumed_rows": the_pass.reused,
        "workers": len(state.workers),
        "model_loads": len(state.loads),
        "load_model_latency_milli_secs": round(1000 * max((s for _, s in state.loads), default=0.0)),
        "num_inferences": state.predicted + state.failed,
        "inference_calls": state.calls,
        "batches": state.batches,
        "model_byte_size": len(model.payload),
    }
    if against is not None and state.profile is not None:
        attempt.detail["distributions"] = statistics.distributions(against, state.profile)


def decide(attempt: Attempt, place: Slot, measured: Measured) -> RunRecord:
    """The record that the commit will carry: all is judged, nothing is visible yet."""
    run_id, profile = attempt.facts["run_id"], measured.state.profile
    if profile is not None:
        with publish.writing(place.root):
            ledger.put(ledger.profile_path(place.root, place.date, run_id), profile.to_bytes())
    tables = {t: str(place.live(t)) for t in publish.TABLES}
    attempt.facts["paths"] = {**tables, "report": str(_page_path(place, run_id))}
    alert = attempt.facts["drift"]["status"] == "drift" and attempt.config.drift.on_drift == "alert"
    return attempt.record("published", exit_code=10 if alert else 0)


def published(attempt: Attempt, place: Slot, exit_code: int) -> RunRecord:
    """The record of a run whose outputs are visible: into the ledger first, then its page and its MLflow run."""
    attempt.published = True
    with publish.writing(place.root):
        ledger.write(place.root, attempt.record("published", exit_code=exit_code))
    with attempt.stage("report"):
        page = _page_or_warning(attempt, place, attempt.record("published", exit_code=exit_code))
    with attempt.stage("track"):
        record = attempt.record("published", exit_code=exit_code)
        warning = tracking.log_run(record, attempt.detail.get("findings", ()), page, attempt.config.tracking)
        if warning:
            attempt.warn(warning)
    rows, page_path = attempt.facts["rows"], attempt.facts["paths"]["report"]
    log.info("published %d rows, %d quarantined; page: %s", rows["scored"], rows["quarantined"], page_path)
    return _close(attempt, place, attempt.record("published", exit_code=exit_code))


def already(attempt: Attempt, place: Slot, committed: Mapping[str, Any]) -> RunRecord:
    """Nothing to do: the date is published. A run that died between commit and ledger gets its entry now."""
    of_commit = RunRecord.from_dict(committed["record"])
    attempt.facts |= {k: getattr(of_commit, k) for k in _OF_COMMIT}
    code = 0
    if of_commit.inputs.get("config_digest") != attempt.config.digest():
        attempt.warn("the date is published already, by another configuration; --force publishes it again")
    if not any(r.status == "published" and r.run_id == of_commit.run_id for r in ledger.history(place.root)):
        with publish.writing(place.root):
            ledger.write(place.root, of_commit)
        code = of_commit.exit_code  # its alert has reached nobody yet
    return _close(attempt, place, attempt.record("already_published", exit_code=code))


def nothing_new(attempt: Attempt, place: Slot) -> RunRecord:
    """An incremental run without any new file: nothing is published, and the date stays open for later ones."""
    attempt.facts["rows"] = {"read": 0, "scored": 0, "quarantined": 0}
    return _close(attempt, place, attempt.record("already_published"))


def failed(attempt: Attempt, place: Slot, error: ScorelineError | Stopped, dry_run: bool) -> RunRecord:
    """The record of a run that published nothing, or of one that could not finish after it had published.

    What it can still write, it writes; what not, it says.
    """
    status = "published" if attempt.published else _STATUS.get(type(error), "failed")
    record = attempt.record(status, error)
    if dry_run or not place.root.is_dir():
        return record
    try:
        if not attempt.published:
            attempt.facts.setdefault("paths", {})["report"] = str(_page_path(place, record.run_id, attempt))
            record = attempt.record(status, error)
            _write_page(attempt, place, record, attempt)
        return _close(attempt, place, record)
    except Exception as problem:  # the first error is the one to tell, whatever else is broken
        log.warning("the ledger or the page of the failed run could not be written: %s", problem)
        return record


def _page_path(place: Slot, run_id: str, attempt: Attempt | None = None) -> Path:
    """A published run's page by its run; a failed attempt's by its time, so that it never hides the other."""
    stamp = "" if attempt is None else "-" + attempt.started_at.replace(":", "").replace("-", "")[:15]
    return place.root / "reports" / f"run_date={place.date}" / f"{run_id}{stamp}.html"


def _page_or_warning(attempt: Attempt, place: Slot, record: RunRecord) -> str:
    try:
        return _write_page(attempt, place, record)
    except Exception as error:  # published is published: a page that fails changes no exit code
        attempt.warn(f"the page of the run could not be written: {type(error).__name__}: {error}")
        return ""


def _write_page(attempt: Attempt, place: Slot, record: RunRecord, failed: Attempt | None = None) -> str:
    detail = RunDetail(
        record=record,
        checks=attempt.detail.get("checks", ()),
        drift=attempt.detail.get("findings", ()),
        distributions=attempt.detail.get("distributions", ()),
        quarantine_examples=attempt.detail.get("examples", ()),
    )
    secrets = attempt.config.secrets
    page = mask(report.render_run(detail, ledger.history(place.root)), (*secrets, *map(html.escape, secrets)))
    ledger.put(_page_path(place, record.run_id, failed), page.encode())
    return page


def _close(attempt: Attempt, place: Slot, record: RunRecord) -> RunRecord:
    """Into the ledger, and onto the index page."""
    with publish.writing(place.root):
        ledger.write(place.root, record)
        reports = place.root / "reports"

        def href(run: RunRecord) -> str | None:
            path = run.paths.get("report")
            return (
                str(Path(path).relative_to(reports)) if path and Path(path).is_relative_to(reports) else None
            )

        ledger.put(reports / "index.html", report.render_index(ledger.history(place.root), href).encode())
    return record
