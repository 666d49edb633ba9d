"""Distributions as outlines in boxes of fixed size, with their ends in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.records import Distribution
from pipelines.report.figures import clip, percent

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


def _moved(baseline: float, current: float) -> str:
    return f"from {percent(baseline)} to {percent(current)}"


def _outline(starts: Sequence[int], shares: Sequence[float], top: float) -> str:
    path = ""
    for i, (start, share) in enumerate(zip(starts, shares, strict=True)):
        apart = i == 0 or start > starts[i - 1] + _BAR
        path += (f"V100M{start} 100" if apart else "") + f"V{100 - 96 * share / top:.0f}h{_BAR}"
    return path.removeprefix("V100") + "V100"
