"""From two profiles and thresholds to findings: one per column, one for the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from pipelines.drift.bins import cells
from pipelines.drift.measures import deltas, measured
from pipelines.drift.noise import Noise, js_noise, wasserstein_noise
from pipelines.errors import ConfigInvalid
from pipelines.profiles import ColumnState, TableProfile
from pipelines.records import DriftFinding

# The promise is 0.05 per table. At n = 200 the limits of the noise understate far tails several times (simulated).
ALPHA = 0.005
TABLE = ":table"
DriftType = Literal["BASELINE", "CONSECUTIVE"]


@dataclass(frozen=True)
class Thresholds:
    """From where on a distance is a drift.

    ``js_distance`` is in [0, 1]; ``wasserstein`` in standard deviations of the reference; ``dataset_share``
    is the share of compared columns from which on the table drifts. ``columns`` overrides the first two by
    column: ``{"age": {"js_distance": 0.2}}``.
    """

    js_distance: float = 0.1
    wasserstein: float = 0.1
    dataset_share: float = 0.5
    columns: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def of(self, column: str) -> tuple[float, float]:
        """The thresholds (js_distance, wasserstein) of a column."""
        own = self.columns.get(column, {})
        return own.get("js_distance", self.js_distance), own.get("wasserstein", self.wasserstein)


class Judged(NamedTuple):
    """A statistic against its threshold and its noise."""

    statistic: str
    value: float
    threshold: float
    noise: Noise

    @property
    def excess(self) -> float:
        """The distance without the expected noise."""
        return float(np.sqrt(max(0.0, self.value**2 - self.noise.expected**2)))

    @property
    def drifts(self) -> bool:
        """Above the noise and, without it, at or above the threshold."""
        return self.value > self.noise.quantile and self.excess >= self.threshold

    @property
    def can_judge(self) -> bool:
        """Whether a drift at the threshold would stand out of the noise, or the distance, which sampling only
        makes larger, is below the threshold where noise alone would not be above it."""
        stands_out = self.noise.quantile**2 - self.noise.expected**2 <= self.threshold**2
        return stands_out or max(self.value, self.noise.expected) <= self.threshold


def compare(
    reference: TableProfile,
    current: TableProfile,
    thresholds: Thresholds | None = None,
    drift_type: DriftType = "BASELINE",
) -> tuple[DriftFinding, ...]:
    """Compare a window with its reference.

    Args:
        reference: a frozen profile (a baseline, or ``freeze`` of an earlier window).
        current: the window, profiled with ``specs_from(reference)``.
        thresholds: the default thresholds where None.
        drift_type: what the reference is.

    Returns:
        One finding for the table (``:table``), then one per column in the order of the reference, columns
        new in the window last. The table drifts from ``dataset_share`` of its columns on; it is ``ok`` only
        where the columns without a verdict could not make it drift.

    Raises:
        ConfigInvalid: a column of the two was not counted on the same bins.
    """
    limits = thresholds or Thresholds()
    names = list(dict.fromkeys([*reference.columns, *current.columns]))
    judged = sum(2 if s.spec.is_numeric else 1 for s in reference.columns.values())
    alpha = ALPHA / max(1, judged)
    pairs = [(reference.columns.get(name), current.columns.get(name)) for name in names]
    columns = tuple(_finding(pair, limits, alpha, drift_type) for pair in pairs)
    return (_table_finding(reference, current, columns, limits.dataset_share, drift_type), *columns)


def _finding(
    states: tuple[ColumnState | None, ColumnState | None],
    thresholds: Thresholds,
    alpha: float,
    drift_type: DriftType,
) -> DriftFinding:
    ref, cur = states
    spec = next(state.spec for state in states if state)
    limits = thresholds.of(spec.name)
    n_ref, n_cur = (state.count if state else 0 for state in states)
    about: dict[str, Any] = {
        "column_name": spec.name,
        "data_type": spec.data_type,
        "drift_type": drift_type,
        "n_ref": n_ref,
        "n_cur": n_cur,
        "count_delta": n_cur - n_ref,
    }
    if ref is None or cur is None or not n_ref or not n_cur:
        nothing: dict[str, Any] = {"verdict": "insufficient_data", "statistic": "js_distance"}
        return DriftFinding(**about, **nothing, threshold=limits[0])
    _require_same_bins(ref, cur)
    figures = measured(ref, cur)
    judged = list(_judged(ref, cur, figures, limits, alpha))
    # The statistic that decides is the one that drifts, or came nearest to it.
    decisive = max(judged, key=lambda j: (j.drifts, j.excess / j.threshold if j.threshold else np.inf))
    powered = any(j.can_judge for j in judged)
    return DriftFinding(
        **about,
        **figures,
        **deltas(ref, cur),
        verdict="drift" if decisive.drifts else "ok" if powered else "insufficient_data",
        statistic=decisive.statistic,
        threshold=decisive.threshold,
    )


def _judged(
    ref: ColumnState, cur: ColumnState, figures: Mapping[str, Any], limits: tuple[float, float], alpha: float
) -> Iterator[Judged]:
    yield Judged("js_distance", figures["js_distance"], limits[0], js_noise(*cells(ref, cur), alpha))
    distance = figures.get("wasserstein_distance")
    if distance is not None and ref.stddev:
        noise = wasserstein_noise(ref, cur, alpha)
        unit = Noise(noise.expected / ref.stddev, noise.quantile / ref.stddev)
        yield Judged("wasserstein_distance", distance, limits[1], unit)


def _table_finding(
    reference: TableProfile,
    current: TableProfile,
    columns: tuple[DriftFinding, ...],
    share: float,
    drift_type: DriftType,
) -> DriftFinding:
    compared = [f.verdict for f in columns if f.n_ref and f.n_cur]
    held = [{n for n, s in p.columns.items() if s.count > s.nulls} for p in (reference, current)]
    return DriftFinding(
        column_name=TABLE,
        data_type="",
        drift_type=drift_type,
        verdict=_table_verdict(compared, share),
        statistic="drifted_share",
        threshold=share,
        n_ref=reference.rows,
        n_cur=current.rows,
        count_delta=current.rows - reference.rows,
        non_null_columns_added=len(held[1] - held[0]),
        non_null_columns_missing=len(held[0] - held[1]),
    )


def _table_verdict(columns: Sequence[str], share: float) -> Literal["ok", "drift", "insufficient_data"]:
    """The verdict that no column without one could change."""
    drifted, unknown = columns.count("drift"), columns.count("insufficient_data")
    if drifted and drifted >= share * len(columns):
        return "drift"
    return (
        "insufficient_data"
        if not columns or (unknown and drifted + unknown >= share * len(columns))
        else "ok"
    )


def _require_same_bins(ref: ColumnState, cur: ColumnState) -> None:
    if ref.spec == cur.spec and ref.spec.frozen:
        return
    raise ConfigInvalid(
        f"Column {ref.spec.name!r} was counted on different bins in the reference ({ref.spec.kind}, "
        f"{ref.spec.data_type}) and in this window ({cur.spec.kind}, {cur.spec.data_type}).",
        hint="Freeze the reference and profile the window with specs_from(reference).",
    )
