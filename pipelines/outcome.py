"""What a run leaves: staged tables, the ledger's record, the page, the MLflow run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pipelines import (
    alerts,
    exports,
    ledger,
    metric_tables,
    publish,
    quarantine_summary,
    report,
    run_figures,
    storage,
    tracking,
)
from pipelines import drift as statistics
from pipelines.attempt import Attempt
from pipelines.errors import DataRefused, DriftBlocked, ScorelineError, Stopped
from pipelines.passes import Measured, Pass
from pipelines.profiles import TableProfile
from pipelines.publish import Slot, Staging
from pipelines.records import ResolvedModel, RunDetail, RunRecord
from pipelines.redaction import mask
from pipelines.storage import AnyPath

log = logging.getLogger("scoreline")
_STATUS: Mapping[type, str] = {DataRefused: "refused", DriftBlocked: "blocked"}
_OF_COMMIT = ("run_id", "model", "inputs", "rows", "quarantined_by", "checks", "drift", "paths")


def identity(model: ResolvedModel) -> dict[str, Any]:
    """The model's part of the record."""
    keys = ("name", "version", "alias", "digest", "flavor", "uri")
    return {k: getattr(model, k) for k in keys}


def collect(attempt: Attempt, the_pass: Pass, staging: Staging) -> dict[str, int]:
    """Stage both tables of rows; rows by table, as their footers count them."""
    counts = the_pass.collect(staging)
    attempt.detail["schemas"] = exports.schemas(the_pass)
    rules = (*the_pass.screen.before, *the_pass.screen.after)
    warned = {r.name for r in rules if not r.critical}
    by, examples = quarantine_summary.summary(staging.table("quarantine").glob("*.parquet"), warned)
    attempt.detail |= {"examples": examples, "rules": {r.name for r in rules}}
    attempt.facts["quarantined_by"] = attempt.masking.reasons(by, attempt.detail["rules"])
    return counts


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
    profiles = metric_tables.profile_metrics(profile, run_date=day, model_id=model.model_id)
    tables = {
        "profile_metrics": attempt.masking.profiles(profiles),
        "drift_metrics": metric_tables.drift_metrics(
            findings, run_date=day, model_id=model.model_id, compared_date=_compared(attempt)
        ),
    }
    for name, table in tables.items():
        publish.write_table(staging, name, table)
    attempt.detail |= {"profile": tables["profile_metrics"], "inputs": [c.name for c in model.inputs]}
    attempt.facts["peak_worker_rss_mb"] = round(state.peak_rss_mb, 1)
    attempt.facts["spark"] = {
        "engine": the_pass.name,
        **({"engine_reason": why} if (why := attempt.detail.get("not_scanned")) else {}),
        "resumed_rows": the_pass.reused,
        "workers": len(state.workers),
        "model_loads": len(state.loads),
        "load_model_latency_milli_secs": round(1000 * max((s for _, s in state.loads), default=0.0)),
        "num_inferences": state.predicted + state.failed,
        "inference_calls": state.calls,
        "batches": state.batches,
        "failed_batches_counter": state.failed_calls,
        "inference_request_batch_size": state.call_rows.to_dict(),
        "inference_batch_latency_micro_secs": state.call_micros.to_dict(),
        "model_byte_size": len(model.payload),
        "compiled": _one_form(attempt, state.forms),
    }
    outputs = [o.name for o in the_pass.screen.outputs]
    attempt.facts["predictions"] = run_figures.predictions(profile, outputs)
    if against is not None and state.profile is not None:
        attempt.detail["distributions"] = statistics.distributions(against, state.profile)


def _one_form(attempt: Attempt, forms: Sequence[str]) -> dict[str, Any] | None:
    """The workers' verdict on a faster form of the model."""
    if len(forms) > 1:
        attempt.warn(f"the workers disagree on a faster form of the model: {'; '.join(forms)}")
    return dict(json.loads(forms[0])) if forms else None


def _compared(attempt: Attempt) -> date | None:
    earlier = attempt.facts["drift"].get("previous")
    return date.fromisoformat(earlier["run_date"]) if earlier else None


def decide(attempt: Attempt, place: Slot, measured: Measured) -> RunRecord:
    """The record that the commit will carry: all is judged, nothing is visible yet."""
    run_id, profile = attempt.facts["run_id"], measured.state.profile
    if profile is not None:
        with publish.writing(place.root):
            storage.replace(ledger.profile_path(place.root, place.date, run_id), profile.to_bytes())
    tables = {t: str(place.live(t)) for t in publish.TABLES}
    attempt.facts["paths"] = {**tables, "report": str(_page_path(place, run_id))}
    alert = attempt.facts["drift"]["status"] == "drift" and attempt.config.drift.on_drift == "alert"
    return attempt.record("published", exit_code=10 if alert else 0)


def published(attempt: Attempt, place: Slot, exit_code: int) -> RunRecord:
    """The record of a run whose outputs are visible: into the ledger first, then its page and its MLflow run."""
    attempt.published = True
    with publish.writing(place.root):
        ledger.write(place.root, attempt.record("published", exit_code=exit_code))
    event = alerts.event(attempt, place.root, "published")
    with attempt.stage("report"):
        page = _page_or_warning(attempt, place, attempt.record("published", exit_code=exit_code))
    with attempt.stage("track"):
        record = attempt.record("published", exit_code=exit_code)
        warning = tracking.log_run(record, attempt.detail.get("findings", ()), page, attempt.config.tracking)
        if warning:
            attempt.warn(warning)
    rows, page_path = attempt.facts["rows"], attempt.facts["paths"]["report"]
    log.info(
        "published %d rows, %d quarantined; page: %s", rows["scored"], rows["quarantined"], page_path,
        extra={"run": attempt.context},
    )  # fmt: skip
    alerts.tell(attempt, attempt.record("published", exit_code=exit_code), event)
    exports.ended(attempt, place, attempt.record("published", exit_code=exit_code))
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
        alerts.tell(attempt, of_commit, None)
        exports.ended(attempt, place, of_commit)
    return _close(attempt, place, attempt.record("already_published", exit_code=code))


def nothing_new(attempt: Attempt, place: Slot) -> RunRecord:
    """An incremental run without any new file: nothing is published, and the date stays open for later ones."""
    attempt.facts["rows"] = {"read": 0, "scored": 0, "quarantined": 0}
    exports.ended(attempt, place, attempt.record("already_published"))
    return _close(attempt, place, attempt.record("already_published"))


def failed(attempt: Attempt, place: Slot, error: ScorelineError | Stopped, dry_run: bool) -> RunRecord:
    """The record of a run that published nothing, or of one that could not finish after it had published.

    What it can still write, it writes; what not, it says.
    """
    status = "published" if attempt.published else _STATUS.get(type(error), "failed")
    if isinstance(error, ScorelineError):
        error.message = attempt.redact(attempt.masking.error(error))  # whoever catches it may print it
    record = attempt.record(status, error)
    if dry_run:
        return record
    if not _reached(place):
        alerts.tell(attempt, record, None)
        exports.ended(attempt, place, record)
        return attempt.record(status, error)
    try:
        if not attempt.published:
            attempt.facts.setdefault("paths", {})["report"] = str(_page_path(place, record.run_id, attempt))
            event = alerts.event(attempt, place.root, status)
            alerts.tell(attempt, attempt.record(status, error), event)
            exports.ended(attempt, place, attempt.record(status, error))
            record = attempt.record(status, error)
            _write_page(attempt, place, record, attempt)
        return _close(attempt, place, record)
    except Exception as problem:  # the first error is the one to tell, whatever else is broken
        log.warning("the ledger or the page of the failed run could not be written: %s", problem)
        return record


def _reached(place: Slot) -> bool:
    """Whether the pipeline's folder is there, and somewhere that this user may look."""
    try:
        return place.root.is_dir()
    except OSError:
        return False


def _page_path(place: Slot, run_id: str, attempt: Attempt | None = None) -> AnyPath:
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
    seen = RunDetail(
        record=record,
        checks=attempt.detail.get("checks", ()),
        drift=attempt.detail.get("findings", ()),
        distributions=attempt.detail.get("distributions", ()),
        quarantine_examples=attempt.detail.get("examples", ()),
    )
    detail = attempt.masking.detail(seen, attempt.detail.get("rules", ()))
    page = mask(report.render_run(detail, ledger.history(place.root)), attempt.config.secrets)
    storage.replace(_page_path(place, record.run_id, failed), page.encode())
    return page


def _close(attempt: Attempt, place: Slot, record: RunRecord) -> RunRecord:
    """Into the ledger, and onto the index page."""
    with publish.writing(place.root):
        ledger.write(place.root, record)
        index = report.render_index(ledger.history(place.root)).encode()
        storage.replace(place.root / "reports" / "index.html", index)
    return record
