"""Distances between two distributions, as the literature defines them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.drift.bins import knots, on_edges, shares, shares_below
from pipelines.profiles import ColumnState, Floats

PSI_FLOOR = 1e-4  # least share of a cell in the population stability index


class Bounded(NamedTuple):
    """A statistic and a bound on the error that comes from its stored state, 0 where that is exact."""

    value: float
    bound: float


def js_distance(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Jensen-Shannon distance of two vectors of counts, between 0 and 1.

    Base 2; the square root of the divergence (Lin 1991), a metric (Endres & Schindelin 2003).
    """
    return float(np.sqrt(js_divergences(np.atleast_2d(p), np.atleast_2d(q))[0]))


def js_divergences(p: npt.ArrayLike, q: npt.ArrayLike) -> Floats:
    """Jensen-Shannon divergences in base 2 of the rows of two matrices of counts."""
    a, b = _row_shares(p), _row_shares(q)
    middle = (a + b) / 2
    return np.maximum(0.0, (_information(a, middle) + _information(b, middle)) / 2)


def population_stability_index(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Sum of (q - p) ln(q / p) over shares, each at least 0.0001 (the floor)."""
    a, b = np.maximum(shares(p), PSI_FLOOR), np.maximum(shares(q), PSI_FLOOR)
    return float(((b - a) * np.log(b / a)).sum())


def kolmogorov_smirnov(reference: ColumnState, current: ColumnState) -> Bounded:
    """Largest difference of the two distribution functions at the bin edges.

    Between edges the true one may be larger by at most the bound; it is 0 where every value is on an edge.
    """
    f, g = (shares_below(state, infinities=True) for state in (reference, current))
    found = float(np.abs(f - g).max())
    if on_edges(reference, current):
        return Bounded(found, 0.0)
    low_f, high_f, low_g, high_g = np.append(0, f), np.append(f, 1), np.append(0, g), np.append(g, 1)
    bound = max(0.0, np.maximum(high_f - low_g, high_g - low_f).max() - found)
    if reference.spec.discrete:  # then only what is on no edge can hide between edges
        bound = min(bound, sum(s.off_edge / (s.count - s.missing) for s in (reference, current)))
    return Bounded(found, float(bound))


def kolmogorov_smirnov_pvalue(statistic: float, n: int, m: int) -> float:
    """Two-sided p-value in the limit of large samples (Kolmogorov 1933, Smirnov 1939)."""
    from scipy.special import kolmogorov

    return float(kolmogorov(statistic * np.sqrt(n * m / (n + m))))


def wasserstein(reference: ColumnState, current: ColumnState) -> Bounded:
    """Area between the distribution functions F and G of the finite values, in the column's unit.

    Where every value is on an edge both are steps and the figure is exact. Otherwise the signed area, the
    integral of F - G, is exact all the same: it is the difference of the means. The area is its size plus
    twice the part of the other sign, for which F and G are taken as straight lines between edges, ending at
    the smallest and the largest value. The bound holds for all F and G through the known points; it is small
    where one function lies above the other, as after a shift.
    """
    x = knots(reference, current)
    f, g = (np.concatenate([[0.0], shares_below(state), [1.0]]) for state in (reference, current))
    width, gap = np.diff(x), f - g
    if on_edges(reference, current):
        return Bounded(float((width * np.abs(gap[:-1])).sum()), 0.0)
    signed = current.mean - reference.mean
    if signed > 0:
        f, g, gap = g, f, -gap
    other = float((width * _mean_positive(gap[:-1], gap[1:])).sum())
    least = float((width * np.maximum(0.0, f[:-1] - g[1:])).sum())
    most = float((width * np.maximum(0.0, f[1:] - g[:-1])).sum())
    boxes = float((width * (np.diff(f) + np.diff(g))).sum() / 2)
    rounding = 16 * np.finfo(np.float64).eps * float(np.abs(x).max())
    return Bounded(abs(signed) + 2 * other, 2 * min(boxes, max(most - other, other - least)) + rounding)


def chi_squared(p: npt.ArrayLike, q: npt.ArrayLike) -> tuple[float, float]:
    """Pearson's test of homogeneity of two vectors of counts: statistic and p-value, without correction."""
    from scipy.special import chdtrc

    table = np.array([p, q], np.float64)
    table = table[:, table.sum(axis=0) > 0]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    freedom = table.shape[1] - 1
    return statistic, float(chdtrc(freedom, statistic)) if freedom else 1.0


def _row_shares(counts: npt.ArrayLike) -> Floats:
    plain = np.asarray(counts, np.float64)
    total = plain.sum(axis=1, keepdims=True)
    return np.divide(plain, total, out=np.zeros_like(plain), where=total > 0)


def _information(a: Floats, middle: Floats) -> Floats:
    ratio = np.divide(a, middle, out=np.ones_like(a), where=a > 0)
    return (a * np.log2(ratio)).sum(axis=1)


def _mean_positive(left: Floats, right: Floats) -> Floats:
    """Mean of the positive part of the line from left to right."""
    high, low = np.maximum(left, right), np.minimum(left, right)
    crossing = np.divide(high**2, 2 * (high - low), out=np.zeros_like(high), where=high > low)
    return np.where(low >= 0, (high + low) / 2, np.where(high > 0, crossing, 0.0))
