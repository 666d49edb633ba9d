"""What is measured of one column in two windows, as the fields of its finding."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.drift.bins import cells, shares
from pipelines.drift.distances import (
    chi_squared,
    js_distance,
    kolmogorov_smirnov,
    kolmogorov_smirnov_pvalue,
    population_stability_index,
    wasserstein,
)
from pipelines.profiles import ColumnState


def measured(ref: ColumnState, cur: ColumnState) -> dict[str, Any]:
    """The statistics that apply to a column with values in both windows, by their names in DriftFinding."""
    p, q = cells(ref, cur)
    found: dict[str, Any] = {
        "js_distance": js_distance(p, q),
        "population_stability_index": population_stability_index(p, q),
    }
    n, m = ref.count - ref.missing, cur.count - cur.missing
    if not n or not m:
        return found
    return found | (_measured_numbers(ref, cur, n, m) if ref.spec.is_numeric else _measured_texts(ref, cur))


def deltas(ref: ColumnState, cur: ColumnState) -> dict[str, Any]:
    """Changes of rates, in percentage points."""

    def change(of: str) -> float:
        return 100 * (getattr(cur, of) / cur.count - getattr(ref, of) / ref.count)

    found = {"percent_null_delta": change("nulls"), "percent_distinct_delta": change("distinct")}
    if ref.spec.kind != "numeric":
        return found
    return found | {"percent_zeros_delta": change("zeros"), "percent_nan_delta": change("nans")}


def _measured_numbers(ref: ColumnState, cur: ColumnState, n: int, m: int) -> dict[str, Any]:
    ks = kolmogorov_smirnov(ref, cur)
    found = {
        "ks_statistic": ks.value,
        "ks_pvalue": kolmogorov_smirnov_pvalue(ks.value, n, m),
        "error_bound": ks.bound,
    }
    if ref.finite and cur.finite:
        found["avg_delta"] = cur.mean - ref.mean
        with np.errstate(over="ignore", invalid="ignore"):
            area = wasserstein(ref, cur).value
        if ref.stddev and np.isfinite(area / ref.stddev):
            found["wasserstein_distance"] = area / ref.stddev
        elif area == 0:
            found["wasserstein_distance"] = 0.0
    return found


def _measured_texts(ref: ColumnState, cur: ColumnState) -> dict[str, Any]:
    difference = np.abs(shares(ref.bins) - shares(cur.bins))
    statistic, pvalue = chi_squared(ref.bins, cur.bins)
    return {
        "chi_squared_statistic": statistic,
        "chi_squared_pvalue": pvalue,
        "tv_distance": float(difference.sum() / 2),
        "l_infinity_distance": float(difference.max()),
    }
