"""One figure over the dates of the runs as a line with points, in a box whose size is up to the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipelines.records import RunRecord
from pipelines.report.figures import number
from pipelines.report.words import headline, tone

_HEADROOM = 1.15
Value = Callable[[RunRecord], float | None]
Form = Callable[[Any], str]


@dataclass(frozen=True)
class Point:
    """One run: its place in percent of the box from the left and the top, and what it says when pointed at."""

    left: float
    top: float
    tone: str
    said: str
    href: str | None


@dataclass(frozen=True)
class Multiple:
    """One figure over dates. ``path``, ``limit`` and ``band`` lie in a box of 100 x 100."""

    title: str
    note: str
    path: str
    band: str
    limit: float | None
    points: tuple[Point, ...]
    last: str
    said: str
    first_date: str
    last_date: str


@dataclass(frozen=True)
class Series:
    """What one multiple shows of each run. ``spread``: half the height of a band around the value."""

    title: str
    value: Value
    form: Form
    note: str = ""
    limit: float | None = None
    from_zero: bool = True
    spread: Value | None = None
    tone: Callable[[RunRecord], str] = tone


def drawn(
    series: Series, runs: Sequence[RunRecord], href: Callable[[RunRecord], str | None]
) -> Multiple | None:
    known = [(r, v) for r in runs if (v := series.value(r)) is not None]
    if len(known) < 2:
        return None
    values, days = [v for _, v in known], [_day(r.run_date) for r, _ in known]
    spreads = [number(series.spread(r)) or 0.0 if series.spread else 0.0 for r, _ in known]
    bottom, top = _ends(series, values, spreads)
    across = [round(100 * (day - days[0]) / ((days[-1] - days[0]) or 1), 2) for day in days]

    def height(value: float) -> float:
        return round(100 * (top - value) / (top - bottom), 2)

    points = tuple(
        Point(x, height(v), series.tone(r), f"{r.run_date}: {series.form(v)}. {headline(r)}", href(r))
        for x, (r, v) in zip(across, known, strict=True)
    )
    first, last, shown = known[0][0].run_date, known[-1][0].run_date, series.form
    said = f"between {shown(min(values))} and {shown(max(values))}, last {shown(values[-1])}"
    return Multiple(
        title=series.title,
        note=series.note,
        path=_line(across, map(height, values)),
        band=_band(across, values, spreads, height) if any(spreads) else "",
        limit=None if series.limit is None else height(series.limit),
        points=points,
        last=shown(values[-1]),
        said=said,
        first_date=first,
        last_date=last,
    )


def _ends(series: Series, values: Sequence[float], spreads: Sequence[float]) -> tuple[float, float]:
    """Bottom and top of the box. Sizes and shares begin at zero: what is half as high is half as much."""
    low = min(v - s for v, s in zip(values, spreads, strict=True))
    high = max([*(v + s for v, s in zip(values, spreads, strict=True)), series.limit or 0.0])
    if series.from_zero:
        return min(0.0, low), (high * _HEADROOM) or 1.0
    margin = (high - low) * (_HEADROOM - 1) or abs(high) or 1.0
    return low - margin, high + margin


def _line(across: Sequence[float], down: Any) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in zip(across, down, strict=True))


def _band(
    across: Sequence[float],
    values: Sequence[float],
    spreads: Sequence[float],
    height: Callable[[float], float],
) -> str:
    over = [height(v + s) for v, s in zip(values, spreads, strict=True)]
    under = [height(v - s) for v, s in zip(values, spreads, strict=True)]
    return _line([*across, *reversed(across)], [*over, *reversed(under)]) + "z"


def _day(text: str) -> int:
    return date.fromisoformat(text[:10]).toordinal()
