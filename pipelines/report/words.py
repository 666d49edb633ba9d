"""What happened in a run, in words."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.records import RunRecord
from pipelines.report.figures import NOTHING, clip, count, figure, number, percent, plural, seconds

STATUS_WORDS: Mapping[str, str] = {
    "published": "Published",
    "already_published": "Already published",
    "refused": "Refused",
    "blocked": "Not published",
    "failed": "Failed",
    "dry_run": "Dry run",
}

# a table drifts by these statistics where they have a limit, and else by its columns
DECIDED_BY: Mapping[str, str] = {
    "volume_ratio": "the number of rows",
    "quarantined": "the share of quarantined rows",
}


def headline(record: RunRecord) -> str:
    """The verdict in one line that needs no knowledge of the pipeline."""
    word, drift = STATUS_WORDS.get(record.status, record.status), _drift_words(record)
    if record.status == "published":
        return f"{word}, {drift}"
    if record.status == "already_published":
        return f"{word}: there was nothing to do"
    if record.status == "dry_run":
        return f"{word}: nothing was written"
    if record.status == "blocked":
        return f"{word}: {drift}"
    if record.status == "refused":
        return f"{word}: {_refusal(record)}"
    return f"{word}: {_message(record) or 'no message was recorded'}"


def tone(record: RunRecord) -> str:
    """``good``, ``warn``, ``bad`` or ``plain``: which colour and mark the verdict gets."""
    if record.status in ("already_published", "dry_run"):
        return "plain"
    if record.status != "published":
        return "bad"
    judged = record.drift.get("status") in ("ok", "none", None)
    return "good" if judged and not record.drift.get("columns") else "warn"


def summary(record: RunRecord) -> str:
    """Counts, model and time in one sentence; parts that are not known are left out."""
    rows, model = record.rows, record.model
    known = [k for k in ("read", "scored", "quarantined") if k in rows]
    counts = [f"{count(rows[k])} {'rows read' if k == 'read' else k}" for k in known]
    text = ", ".join(counts) or "No rows were read"
    if share := quarantined_share(record):
        text += f" ({percent(share)})"
    if model.get("name"):
        version = f" version {clip(model['version'])}" if model.get("version") else ""
        text += f"; model {clip(model['name'])}{version}"
    if number(record.seconds.get("total")) is not None:
        text += f"; {seconds(record.seconds['total'])}"
    return f"{text}."


def quality_words(record: RunRecord) -> str:
    """The one figure that says most of how good the predictions were; a dash before labels have come."""
    figures = record.quality.get("figures") or {}
    if "accuracy_score" in figures:
        return f"{percent(figures['accuracy_score'])} right"
    return f"RMSE {figure(figures.get('root_mean_squared_error'))}" if figures else NOTHING


def quarantined_share(record: RunRecord) -> float | None:
    """Quarantined rows as a share (0 to 1) of the rows read; None where either is unknown."""
    read, quarantined = number(record.rows.get("read")), number(record.rows.get("quarantined"))
    return quarantined / read if read and quarantined is not None else None


def _drift_words(record: RunRecord) -> str:
    names = list(record.drift.get("columns") or ())
    if names:
        listed = ", ".join(clip(n, 40) for n in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"drift in {plural(len(names), 'column')}: {listed}{more}"
    if record.drift.get("status") == "drift" and (by := DECIDED_BY.get(str(record.drift.get("decided_by")))):
        return f"drift in {by}"
    words = {"ok": "no drift", "drift": "drift", "insufficient_data": "too little data to judge drift"}
    return words.get(str(record.drift.get("status")), "drift not measured")


def _refusal(record: RunRecord) -> str:
    share, limit = quarantined_share(record), number(record.checks.get("max_quarantined"))
    rows = f"{percent(share)} of rows quarantined"
    if share is not None and limit is not None and share > limit:
        return f"{rows}, limit {percent(limit)}"
    return _message(record) or (rows if share else "the data did not pass")


def _message(record: RunRecord) -> str:
    return clip((record.error or {}).get("message") or "", 200).rstrip(".")
