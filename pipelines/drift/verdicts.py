"""From the states of one column and its thresholds to a finding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pipelines.drift.bins import cells
from pipelines.drift.measures import deltas, measured
from pipelines.drift.noise import Noise, js_noise, wasserstein_noise
from pipelines.errors import ConfigInvalid
from pipelines.profiles import ColumnState
from pipelines.records import DriftFinding

DriftType = Literal["BASELINE", "CONSECUTIVE"]


@dataclass(frozen=True)
class Thresholds:
    """From where on a distance is a drift.

    ``js_distance`` is in [0, 1]; ``wasserstein`` in standard deviations of the reference; ``dataset_share``
    is the share of compared columns from which on the table drifts. ``columns`` overrides the first two by
    column: ``{"age": {"js_distance": 0.2}}``. ``volume`` is the relative change of the number of rows from
    which on a window drifts from the one before it, ``quarantined`` the change in the share of rows that are
    quarantined; both are not judged where None.
    """

    js_distance: float = 0.1
    wasserstein: float = 0.1
    dataset_share: float = 0.5
    columns: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    volume: float | None = None
    quarantined: float | None = None

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
        """The distance without the expected noise: the root of the difference of squares, which might overflow."""
        value, expected = float(self.value), float(self.noise.expected)
        return math.sqrt(value - expected) * math.sqrt(value + expected) if value > expected else 0.0

    @property
    def drifts(self) -> bool:
        """Above the noise and, without it, at or above the threshold."""
        return self.value > self.noise.quantile and self.excess >= self.threshold

    @property
    def can_judge(self) -> bool:
        """Whether a drift at the threshold would stand out of the noise, or the distance, which sampling only
        makes larger, is below the threshold where noise alone would not be above it."""
        stands_out = self.noise.quantile <= math.hypot(self.threshold, self.noise.expected)
        return stands_out or max(self.value, self.noise.expected) <= self.threshold


def column_finding(
    states: tuple[ColumnState | None, ColumnState | None],
    thresholds: Thresholds,
    alpha: float,
    drift_type: DriftType,
) -> DriftFinding:
    """The finding on a column, by its states in the reference and in the window (None: it is not there).

    A column that changed its kind (a number became a text) drifts by its ``data_type``. One that a window
    and the one before it counted on different bins, as after a new model version, has insufficient data.

    Raises:
        ConfigInvalid: a column was not counted on the bins of its baseline.
    """
    ref, cur = states
    spec = next(state.spec for state in states if state)
    limits = thresholds.of(spec.name)
    about = _about(spec.name, (cur.spec if cur else spec).data_type, states, drift_type)
    nothing: dict[str, Any] = {"statistic": "js_distance", "threshold": limits[0]}
    if ref is None or cur is None or not ref.count or not cur.count:
        return DriftFinding(**about, **nothing, verdict="insufficient_data")
    if ref.spec.kind != cur.spec.kind:
        return DriftFinding(**about, verdict="drift", statistic="data_type", threshold=None)
    if not _same_bins(ref, cur, drift_type):
        return DriftFinding(**about, **nothing, verdict="insufficient_data")
    figures = measured(ref, cur)
    judged = list(_judged(ref, cur, figures, thresholds, alpha))
    # The statistic that decides is the one that drifts, or came nearest to it.
    decisive = max(judged, key=lambda j: (j.drifts, j.excess / j.threshold if j.threshold else math.inf))
    powered = any(j.can_judge for j in judged)
    return DriftFinding(
        **about,
        **figures,
        **deltas(ref, cur),
        verdict="drift" if decisive.drifts else "ok" if powered else "insufficient_data",
        statistic=decisive.statistic,
        threshold=decisive.threshold,
    )


def _about(
    name: str, data_type: str, states: tuple[ColumnState | None, ColumnState | None], drift_type: DriftType
) -> dict[str, Any]:
    n_ref, n_cur = (state.count if state else 0 for state in states)
    rows = {"n_ref": n_ref, "n_cur": n_cur, "count_delta": n_cur - n_ref}
    return {"column_name": name, "data_type": data_type, "drift_type": drift_type, **rows}


def judged_statistics(state: ColumnState) -> int:
    """How many statistics decide on a column, at most."""
    return 2 if state.spec.is_numeric else 1


def _judged(
    ref: ColumnState, cur: ColumnState, figures: Mapping[str, Any], thresholds: Thresholds, alpha: float
) -> Iterator[Judged]:
    js_limit, wasserstein_limit = thresholds.of(ref.spec.name)
    yield Judged("js_distance", figures["js_distance"], js_limit, js_noise(*cells(ref, cur), alpha))
    distance = figures.get("wasserstein_distance")
    # Times move on: where they lie is judged only where that was asked for.
    asked = ref.spec.kind != "datetime" or "wasserstein" in thresholds.columns.get(ref.spec.name, {})
    if asked and distance is not None and ref.stddev:
        noise = wasserstein_noise(ref, cur, alpha)
        unit = Noise(noise.expected / ref.stddev, noise.quantile / ref.stddev)
        yield Judged("wasserstein_distance", distance, wasserstein_limit, unit)


def _same_bins(ref: ColumnState, cur: ColumnState, drift_type: DriftType) -> bool:
    if ref.spec == cur.spec and ref.spec.frozen:
        return True
    if drift_type == "CONSECUTIVE" and ref.spec.frozen and cur.spec.frozen:
        return False
    raise ConfigInvalid(
        f"Column {ref.spec.name!r} was counted on different bins in the reference ({ref.spec.kind}, "
        f"{ref.spec.data_type}) and in this window ({cur.spec.kind}, {cur.spec.data_type}).",
        hint="Freeze the reference and profile the window with specs_from(reference).",
    )
