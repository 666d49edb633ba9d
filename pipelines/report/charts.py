"""Distributions and trends as outlines in boxes of fixed size, with their ends in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipelines.records import Distribution, RunRecord
from pipelines.report.figures import clip, count, number, percent, seconds
from pipelines.report.words import quarantined_share

_BAR, _GAP = 10, 6


@dataclass(frozen=True)
class Histogram:
    """Outlines of both distributions in a box ``width`` x 100, and what each bar says when pointed at."""

    width: int
    bar: int
    top: float
    baseline: str
    current: str
    bars: tuple[tuple[int, str], ...]
    ends: tuple[str, ...]
    changes: str
    has_null: bool


def histogram(plot: Distribution) -> Histogram | None:
    """``plot`` as bars of equal width on one scale (bins are shares of the baseline, not lengths).

    The bin of empty values stands apart, and only where there are any. None where neither side has data.
    """
    bins = list(zip(plot.labels, plot.baseline, plot.current, strict=True))
    has_null = bool(bins) and bins[-1][0] == "null" and max(bins[-1][1:]) > 0
    if bins and bins[-1][0] == "null" and not has_null:
        bins.pop()
    top = max((max(b, c) for _, b, c in bins), default=0.0)
    if not top > 0:
        return None
    starts = [_BAR * i + (_GAP if has_null and i == len(bins) - 1 else 0) for i in range(len(bins))]
    largest = sorted(bins, key=lambda b: -abs(b[2] - b[1]))[:3]
    values = [n for n, _, _ in (bins[:-1] if has_null else bins)]
    return Histogram(
        width=starts[-1] + _BAR,
        bar=_BAR,
        top=top,
        baseline=_outline(starts, [b for _, b, _ in bins], top),
        current=_outline(starts, [c for _, _, c in bins], top),
        bars=tuple((x, f"{clip(n, 60)}: {_moved(b, c)}") for x, (n, b, c) in zip(starts, bins, strict=True)),
        ends=tuple(clip(n, 40) for n in dict.fromkeys((*values[:1], *values[-1:]))),
        changes="; ".join(f"{clip(n, 60)} {_moved(b, c)}" for n, b, c in largest if b != c) or "none",
        has_null=has_null,
    )


@dataclass(frozen=True)
class Trend:
    """One figure over the dates of the runs: a line in a box of 100 x 30, and its ends in words."""

    title: str
    path: str
    last: str
    low: str
    high: str
    first_date: str
    last_date: str


def trends(records: Sequence[RunRecord]) -> list[Trend]:
    """What is known on two dates or more: of each date the last run that was no dry run."""
    latest = {r.run_date: r for r in sorted(records, key=moment) if r.status != "dry_run"}
    shares = any(drifted_share(r) is not None for r in latest.values())
    kinds: list[tuple[str, Callable[[RunRecord], float | None], Callable[[Any], str]]] = [
        ("Rows read", lambda r: number(r.rows.get("read")), count),
        ("Quarantined", quarantined_share, percent),
        ("Drifted columns", *((drifted_share, percent) if shares else (_drifted_columns, count))),
        ("Duration", lambda r: number(r.seconds.get("total")), seconds),
    ]
    series = [(title, {d: value(r) for d, r in latest.items()}, form) for title, value, form in kinds]
    return [t for title, values, form in series if (t := _trend(title, values, form))]


def drifted_share(record: RunRecord) -> float | None:
    """Drifted columns as a share (0 to 1) of the judged ones; None where drift was not measured."""
    judged = number(record.drift.get("judged"))
    return len(record.drift.get("columns") or ()) / judged if judged else None


def moment(record: RunRecord) -> tuple[str, str]:
    """By what runs are ordered: their date, then their start."""
    return str(record.run_date), str(record.started_at)


def _moved(baseline: float, current: float) -> str:
    return f"from {percent(baseline)} to {percent(current)}"


def _outline(starts: Sequence[int], shares: Sequence[float], top: float) -> str:
    path = ""
    for i, (start, share) in enumerate(zip(starts, shares, strict=True)):
        apart = i == 0 or start > starts[i - 1] + _BAR
        path += (f"V100M{start} 100" if apart else "") + f"V{100 - 96 * share / top:.0f}h{_BAR}"
    return path.removeprefix("V100") + "V100"


def _trend(title: str, values: Mapping[str, float | None], form: Callable[[Any], str]) -> Trend | None:
    known = {d: v for d, v in values.items() if v is not None}
    if len(known) < 2:
        return None
    days, low, high = [_day(d) for d in known], min(known.values()), max(known.values())
    span, height = (max(days) - min(days)) or 1, (high - low) or 1
    across = [100 * (day - min(days)) / span for day in days]
    down = [26 - 22 * (value - low) / height for value in known.values()]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(across, down, strict=True))
    dates = list(known)
    return Trend(title, path, form(known[dates[-1]]), form(low), form(high), dates[0], dates[-1])


def _drifted_columns(record: RunRecord) -> float | None:
    measured = record.drift.get("status") in ("ok", "drift")
    return float(len(record.drift.get("columns") or ())) if measured else None


def _day(text: str) -> int:
    return date.fromisoformat(text[:10]).toordinal()
