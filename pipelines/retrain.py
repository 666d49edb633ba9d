"""When to train again: a statistic that stays above its threshold, over the dates of one model version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines import run_figures
from pipelines.config_alerts import Retrain
from pipelines.records import RetrainEvent, RunRecord

_JUDGED = ("published", "blocked")


def decide(config: Retrain | None, history: Sequence[RunRecord]) -> RetrainEvent | None:
    """The event that the newest run gives cause for, or None.

    Only dates that the newest run's model version scored count, so that a new version starts afresh. While the
    cause persists, one event is enough: there is none where one of the last ``of_last`` dates has had its own.

    Args:
        config: the section ``retrain``; None never asks for anything.
        history: the ledger's records in any order, the newest run's own among them.
    """
    dates = _dates(history)
    if config is None or not dates:
        return None
    newest = dates[-1]
    window = [r for r in dates if _version(r) == _version(newest)][-config.of_last :]
    if any(_told(record, history) for record in window):
        return None
    over = {c: v for c in _columns(config, newest) if (v := _over(config, window, c)) is not None}
    return _event(config, newest, over) if over else None


def _dates(history: Sequence[RunRecord]) -> list[RunRecord]:
    """The last judged run of each date up to that of the last run, which a backfill does not make the newest date."""
    judged = sorted((r for r in history if r.status in _JUDGED), key=lambda r: r.started_at)
    if not judged:
        return []
    latest = {r.run_date: r for r in judged}
    return [latest[day] for day in sorted(latest) if day <= judged[-1].run_date]


def _version(record: RunRecord) -> tuple[object, object]:
    return record.model.get("name"), record.model.get("version")


def _told(record: RunRecord, history: Sequence[RunRecord]) -> bool:
    """Whether any run of the date, with the same model version, has had an event already."""
    return any(r.event and r.run_date == record.run_date and _version(r) == _version(record) for r in history)


def _columns(config: Retrain, newest: RunRecord) -> Sequence[str]:
    if config.statistic == "quarantined":
        return ("",)
    known = newest.drift.get("distances") or {}
    return [c for c in known if not config.columns or c in config.columns]


def _over(config: Retrain, window: Sequence[RunRecord], column: str) -> Mapping[str, float] | None:
    """The column's values by date where the rule holds for it; None where it does not."""
    values = {r.run_date: v for r in window if (v := _value(config, r, column)) is not None}
    above = [day for day, value in values.items() if value > config.threshold]
    return values if len(above) >= config.at_least and window[-1].run_date in above else None


def _value(config: Retrain, record: RunRecord, column: str) -> float | None:
    if config.statistic != "quarantined":
        return run_figures.distance(record.drift, column, config.statistic)
    read = record.rows.get("read")
    return record.rows.get("quarantined", 0) / read if read else None


def _often(config: Retrain) -> str:
    return (
        f" and on at least {config.at_least} of the last {config.of_last} dates"
        if config.at_least > 1
        else ""
    )


def _event(config: Retrain, newest: RunRecord, over: Mapping[str, Mapping[str, float]]) -> RetrainEvent:
    names = ", ".join(name for name in list(over)[:5] if name) + (" and others" if len(over) > 5 else "")
    of = f" of {names}" if names else ""
    return RetrainEvent(
        name=newest.name,
        run_date=newest.run_date,
        run_id=newest.run_id,
        model=dict(newest.model),
        statistic=config.statistic,
        threshold=config.threshold,
        at_least=config.at_least,
        of_last=config.of_last,
        columns=over,
        reason=f"{config.statistic}{of} above {config.threshold:g} on {newest.run_date}{_often(config)}.",
    )
