"""What each tool computes, in words of NumPy and SciPy: its bins, its base, its treatment of what is missing.

A figure of a tool counts as explained when it equals the one computed here to 1e-9.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import jensenshannon

from pipelines.profiles import Floats

Figures = dict[str, float]
FEW = 20  # distinct numbers up to which Evidently compares values, not bins
MANY = 10_000  # rows of the reference from which on NannyML compares histograms
BINS = 10_000  # bins of theirs


def scipy(ref: pd.Series, cur: pd.Series) -> Figures:
    """Exact, from the rows, without what is missing."""
    a, b = ref.dropna(), cur.dropna()
    if not len(a) or not len(b):
        return {}
    if ref.dtype.kind != "f":
        p, q = _by_value(a, b)
        return {"l_infinity_distance": float(np.abs(p / len(a) - q / len(b)).max())}
    found = {"ks_statistic": float(stats.ks_2samp(a, b).statistic)}
    return found | {"wasserstein_distance": float(stats.wasserstein_distance(a, b)) / float(a.std())}


def evidently(ref: pd.Series, cur: pd.Series) -> Figures:
    """Numbers: bins of Sturges' rule over both sides together, values where there are few. Base e."""
    a, b = ref.dropna(), cur.dropna()
    if not len(a) or not len(b):
        return {}
    binned = ref.dtype.kind == "f" and a.nunique() > FEW
    if binned:
        p, q = _shares(a, b, np.histogram_bin_edges(pd.concat([a, b]), "sturges"))
    else:
        p, q = (counts / counts.sum() for counts in _by_value(a, b))
    with np.errstate(all="ignore"):
        floored = [np.where(s == 0, _floor(s), s) for s in (p, q)]
        psi = float(((floored[0] - floored[1]) * np.log(floored[0] / floored[1])).sum())
    found = {"js_distance": float(jensenshannon(p, q)), "population_stability_index": psi}
    if ref.dtype.kind == "f":
        area = stats.wasserstein_distance(a, b) / max(float(a.std(ddof=0)), 0.001)
        return found | {"wasserstein_distance": float(area), "ks_pvalue": float(stats.ks_2samp(a, b).pvalue)}
    counts = _by_value(a, b)
    with np.errstate(all="ignore"):
        statistic = ((counts[1] - counts[0] * len(b) / len(a)) ** 2 / (counts[0] * len(b) / len(a))).sum()
    return found | {"chi_squared_pvalue": float(stats.chi2.sf(statistic, len(p) - 1))}


def nannyml(ref: pd.Series, cur: pd.Series) -> Figures:
    """Numbers: bins of Doane's rule over the reference, one more for all beyond them. Base 2."""
    a, b = ref.dropna(), cur.dropna()
    if not len(a) or not len(b):
        return {}
    if ref.dtype.kind != "f":
        p, q = _by_value(a, b)
        known = p > 0
        js = jensenshannon(np.append(p[known], 0) / len(a), np.append(q[known], q[~known].sum()) / len(b), 2)
        chi = stats.chi2_contingency([p, q]).statistic if len(p) > 1 else 0.0
        return {"js_distance": float(js), "chi_squared_statistic": float(chi), **scipy(ref, cur)}
    p, q = _shares(a, b, np.histogram_bin_edges(a, "doane"))
    js = jensenshannon(np.append(p, 0), np.append(q, max(0.0, 1 - q.sum())), 2)
    exact = {
        "ks_statistic": stats.ks_2samp(a, b).statistic,
        "wasserstein_distance": stats.wasserstein_distance(a, b),
    }
    return {"js_distance": float(js), **(_of_histograms(a, b) if len(a) >= MANY else exact)}


def _of_histograms(a: pd.Series, b: pd.Series) -> Figures:
    """The distances of two histograms of 10,000 equal bins; what lies beyond them is measured from their ends."""
    edges = np.linspace(a.min(), a.max(), BINS + 1)
    f, g = (np.cumsum(s) for s in _shares(a, b, edges))
    below, above = b[b < edges[0]], b[b > edges[-1]]
    beyond = ((edges[0] - below).sum() + (above - edges[-1]).sum()) / len(b)
    started = (len(below) + 1) / len(b) if len(below) else 0.0  # theirs counts one more than there are
    area = float(np.abs(f - g - started).sum()) * (edges[1] - edges[0]) + beyond
    return {
        "ks_statistic": float(np.abs(f - g - len(below) / len(b)).max()),
        "wasserstein_distance": float(area),
    }


def _shares(a: pd.Series, b: pd.Series, edges: Floats) -> tuple[Floats, Floats]:
    return np.histogram(a, edges)[0] / len(a), np.histogram(b, edges)[0] / len(b)


def _by_value(a: pd.Series, b: pd.Series) -> tuple[Floats, Floats]:
    counts: Any = pd.concat([a.value_counts(), b.value_counts()], axis=1).fillna(0).to_numpy(float)
    return counts[:, 0], counts[:, 1]


def _floor(shares: Floats) -> float:
    least = float(shares[shares > 0].min())
    return least / 1e6 if least <= 1e-4 else 1e-4
