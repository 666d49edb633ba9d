"""Small multiples: one figure each over the dates of the runs, drawn alike so that the eye can compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import run_figures
from pipelines.records import RunRecord
from pipelines.report.columns import title_of
from pipelines.report.drawing import Multiple, Series, Value, drawn
from pipelines.report.figures import clip, count, figure, number, percent, plural, seconds
from pipelines.report.words import quarantined_share, tone

DATES = 90  # the newest ones that are drawn
COLUMNS = 24  # drift charts; the columns that came nearest to their limits
NO_OPS = ("already_published", "dry_run")  # attempts that did nothing: they would only hide what was done


@dataclass(frozen=True)
class Group:
    """Multiples about one matter; ``more`` says what is not drawn."""

    title: str
    charts: tuple[Multiple, ...]
    more: str = ""


def moment(record: RunRecord) -> tuple[str, str]:
    """By what runs are ordered: their date, then their start."""
    return str(record.run_date), str(record.started_at)


def by_date(records: Sequence[RunRecord]) -> list[RunRecord]:
    """One run of each date, oldest first: the last that published, else the last that tried."""
    latest: dict[str, RunRecord] = {}
    for record in sorted(records, key=moment):
        held = latest.get(record.run_date)
        if record.status not in NO_OPS and not (held and held.status == "published" != record.status):
            latest[record.run_date] = record
    return list(latest.values())[-DATES:]


def groups(records: Sequence[RunRecord], href: Callable[[RunRecord], str | None]) -> list[Group]:
    """All that is known on two dates or more; groups without a chart are left out."""
    runs = by_date(records)

    def draw(title: str, series: Sequence[Series], more: str = "") -> Group:
        return Group(title, tuple(c for s in series if (c := drawn(s, runs, href))), more)

    drift, rest = _drift(runs)
    found = [
        draw("Volume and quality", _quality(runs)),
        draw("Drift by column", drift, rest),
        draw("Predictions", _predictions(runs)),
        draw("Against labels", _labelled()),
        draw("Time and cost", _cost()),
    ]
    return [group for group in found if group.charts]


def drifted_share(record: RunRecord) -> float | None:
    """Drifted columns as a share (0 to 1) of the judged ones; None where drift was not measured."""
    judged = number(record.drift.get("judged"))
    return len(record.drift.get("columns") or ()) / judged if judged else None


def per_million(record: RunRecord) -> float | None:
    """Core seconds for a million rows read."""
    spent, read = number(record.core_seconds), number(record.rows.get("read"))
    return 1e6 * spent / read if spent and read else None


def _quality(runs: Sequence[RunRecord]) -> list[Series]:
    shares = any(drifted_share(r) is not None for r in runs)
    return [
        Series("Rows read", lambda r: number(r.rows.get("read")), count),
        Series("Quarantined", quarantined_share, percent, "share of rows read"),
        Series("Drifted columns", drifted_share, percent, "share of judged columns")
        if shares
        else Series("Drifted columns", _drifted_columns, count),
    ]


def _drift(runs: Sequence[RunRecord]) -> tuple[list[Series], str]:
    """The columns that came nearest to their limits or went furthest beyond, worst first."""
    worst: dict[str, float] = {}
    for record in runs:
        for column in record.drift.get("distances") or {}:
            worst[column] = max(worst.get(column, 0.0), _excess(record, column))
    names = sorted(worst, key=lambda name: (-worst[name], name))
    rest = names[COLUMNS:]
    more = f"{plural(len(rest), 'more column')} came less near to their limits." if rest else ""
    return [_column(name, runs) for name in names[:COLUMNS]], more


def _column(name: str, runs: Sequence[RunRecord]) -> Series:
    known = [d for r in runs if (d := (r.drift.get("distances") or {}).get(name))]
    last = known[-1]
    limit = number(last.get("limit"))
    note = clip(title_of(str(last.get("statistic"))), 60) + (
        f", limit {figure(limit)}" if limit is not None else ""
    )

    def verdict(record: RunRecord) -> str:
        drifted = record.drift["distances"][name].get("verdict") == "drift"
        return "bad" if tone(record) == "bad" else "warn" if drifted else "good"

    return Series(
        clip(name, 60), lambda r: run_figures.distance(r.drift, name), figure, note, limit, tone=verdict
    )


def _excess(record: RunRecord, column: str) -> float:
    limit = number(record.drift["distances"][column].get("limit"))
    return (run_figures.distance(record.drift, column) or 0.0) / (limit or 1.0)


def _predictions(runs: Sequence[RunRecord]) -> list[Series]:
    """Means of numbers with one standard deviation to both sides; shares of classes."""
    found: dict[tuple[str, str | None], Series] = {}
    for record in reversed(runs):
        for column, known in record.predictions.items():
            if "mean" in known:
                found.setdefault((column, None), _mean(column))
            for label in known.get("shares") or {}:
                found.setdefault((column, label), _class(column, label))
    return list(found.values())[:COLUMNS]


def _mean(column: str) -> Series:
    def read(key: str) -> Value:
        return lambda r: number((r.predictions.get(column) or {}).get(key))

    note = "mean, and one standard deviation to both sides"
    return Series(clip(column, 60), read("mean"), figure, note, from_zero=False, spread=read("stddev"))


def _class(column: str, label: str) -> Series:
    def share(record: RunRecord) -> float | None:
        shares = (record.predictions.get(column) or {}).get("shares")
        return None if shares is None else number(shares.get(label, 0.0))

    return Series(clip(label, 60), share, percent, f"share of {clip(column, 60)}")


def _labelled() -> list[Series]:
    """How good the predictions were, on the dates whose labels have come."""

    def read(key: str) -> Value:
        return lambda r: number((r.quality.get("figures") or {}).get(key))

    return [
        Series("Accuracy", read("accuracy_score"), percent, "share of labelled rows"),
        Series("ROC AUC", read("roc_auc_score_macro"), figure, "mean over classes"),
        Series("Root mean squared error", read("root_mean_squared_error"), figure),
    ]


def _cost() -> list[Series]:
    return [
        Series("Duration", lambda r: number(r.seconds.get("total")), seconds),
        Series("Processor time", lambda r: number(r.core_seconds), seconds, "core seconds"),
        Series("Processor time per million rows", per_million, seconds, "core seconds"),
        Series("Peak memory of a worker", lambda r: number(r.peak_worker_rss_mb), _megabytes),
    ]


def _megabytes(value: Any) -> str:
    return f"{count(value)} MB"


def _drifted_columns(record: RunRecord) -> float | None:
    measured = record.drift.get("status") in ("ok", "drift")
    return float(len(record.drift.get("columns") or ())) if measured else None
