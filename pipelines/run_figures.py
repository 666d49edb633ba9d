"""The few figures of a run that its record keeps, so that runs can be compared without reading their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.profiles import ColumnState, TableProfile, quantiles
from pipelines.records import DriftFinding

STATISTICS = (
    "js_distance",
    "wasserstein_distance",
    "population_stability_index",
    "ks_statistic",
    "tv_distance",
    "l_infinity_distance",
)
CLASSES = 10  # predicted classes that are named, the most frequent first


def distances(findings: Iterable[DriftFinding]) -> dict[str, dict[str, Any]]:
    """Of each judged column: ``verdict``, the deciding ``statistic`` with its ``limit``, and each distance.

    For ``RunRecord.drift["distances"]``. Distances have six significant digits; what was not computed is left
    out. Of a column with several findings the first counts; slices and the table as a whole are no columns.
    """
    known: dict[str, dict[str, Any]] = {}
    for finding in findings:
        if finding.slice_key or finding.column_name.startswith(":") or finding.column_name in known:
            continue
        measured = {name: getattr(finding, name, None) for name in STATISTICS}
        known[finding.column_name] = {
            "verdict": finding.verdict,
            "statistic": finding.statistic,
            "limit": finding.threshold,
            **{name: _rounded(value) for name, value in measured.items() if value is not None},
        }
    return known


def predictions(profile: TableProfile, outputs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each predicted column: ``count``, and what its values are like.

    Args:
        profile: of this run.
        outputs: names of the model's outputs; an array is profiled as ``NAME_<class>``, one column each.

    Returns:
        Numbers have ``mean``, ``stddev`` (None below two values) and ``quantiles`` (5 %, 50 %, 95 %), in the
        prediction's own unit; classes have ``shares`` (of all values; the most frequent ones). Of a 0/1
        prediction the mean is the share of positives.
    """
    arrays = tuple(f"{name}_" for name in outputs if name not in profile.columns)
    predicted = [n for n in profile.columns if n in outputs or n.startswith(arrays)]
    return {n: _prediction(profile.columns[n]) for n in predicted if profile.columns[n].count}


def distance(drift: Mapping[str, Any], column: str, statistic: str | None = None) -> float | None:
    """A distance of one column out of a record's ``drift``: the deciding one, or the named one."""
    known = (drift.get("distances") or {}).get(column) or {}
    value = known.get(_field(statistic or known.get("statistic") or ""))
    return float(value) if isinstance(value, (int, float)) else None


def _field(statistic: str) -> str:
    """Configurations and findings say ``wasserstein``, the tables ``wasserstein_distance``."""
    return next((name for name in STATISTICS if name in (statistic, f"{statistic}_distance")), statistic)


def _prediction(state: ColumnState) -> dict[str, Any]:
    if not state.spec.is_numeric:
        shares = {name: _rounded(n / state.count) for name, n in state.frequent[:CLASSES]}
        return {"count": state.count, "shares": shares}
    if not state.finite:
        return {"count": state.count}
    spread = None if state.stddev is None else _rounded(state.stddev)
    levels = [_rounded(q) for q in quantiles(state, (0.05, 0.5, 0.95))]
    return {"count": state.count, "mean": _rounded(state.mean), "stddev": spread, "quantiles": levels}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
