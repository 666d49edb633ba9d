"""Populations that the drift study draws from, and profiles of samples of them without drawing single rows.

A population is a list of values with their probabilities; the continuous ones have 4,400 values, finer in the
tails (down to one in 10^10). A sample of n rows is one multinomial draw of counts, from which the state of a
column follows exactly, so that a million rows cost as little as a hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from pipelines.profiles import ColumnSpec, ColumnState, Floats, Ints
from pipelines.profiles.baselines import CATEGORIES, _chosen_edges

_TAIL = np.geomspace(1e-10, 1 / 4096, 150)
_LEVELS = np.concatenate([[0], _TAIL, np.arange(2, 4095) / 4096, 1 - _TAIL[::-1], [1]])
_MASS = np.diff(_LEVELS)


@dataclass(frozen=True)
class Population:
    """``values`` (numbers ascending, or texts) with their probabilities; ``missing`` is the share of nulls."""

    values: npt.NDArray[Any]
    shares: Floats
    missing: float = 0.0

    @property
    def numeric(self) -> bool:
        """Whether values are numbers."""
        return self.values.dtype.kind == "f"


def continuous(distribution: Any, missing: float = 0.0) -> Population:
    """A SciPy distribution at the middle quantile of each of its parts."""
    return Population(distribution.ppf((_LEVELS[1:] + _LEVELS[:-1]) / 2), _MASS, missing)


def integers(shares: npt.ArrayLike) -> Population:
    """0, 1, 2, ... with these weights."""
    p = np.asarray(shares, float)
    return Population(np.arange(len(p), dtype=float), p / p.sum())


def with_zeros(distribution: Any, zeros: float) -> Population:
    """Zero with probability ``zeros``, else the distribution."""
    inner = continuous(distribution)
    values = np.concatenate([[0.0], inner.values])
    shares = np.concatenate([[zeros], inner.shares * (1 - zeros)])
    order = np.argsort(values, kind="stable")
    return Population(values[order], shares[order])


def categories(weights: npt.ArrayLike) -> Population:
    """v0, v1, ... with these weights."""
    p = np.asarray(weights, float)
    return Population(np.array([f"v{i}" for i in range(len(p))]), p / p.sum())


def power_law(values: int, exponent: float) -> Population:
    """Categories with a long tail: the k-th has weight k^-exponent."""
    return categories(np.arange(1.0, values + 1) ** -exponent)


def sample(
    rng: np.random.Generator, of: Population, rows: int, spec: ColumnSpec | None = None
) -> ColumnState:
    """The state of ``rows`` rows, counted by ``spec`` or, as a reference is, on bins of its own."""
    nulls = int(rng.binomial(rows, of.missing)) if of.missing else 0
    counts = rng.multinomial(rows - nulls, of.shares)
    return (_numbers if of.numeric else _texts)(of.values[counts > 0], counts[counts > 0], nulls, spec)


def _numbers(values: Floats, counts: Ints, nulls: int, spec: ColumnSpec | None) -> ColumnState:
    below = np.cumsum(counts)
    if spec is None:
        edges, places = _chosen_edges(values, below, float(values[0]))
        spec = ColumnSpec("x", "numeric", "double", edges, discrete=len(places) == len(values))
    at_edges = np.concatenate([[0], below])[np.searchsorted(values, spec.edge_array, "right")]
    mean = float(counts @ values) / int(below[-1])
    return ColumnState(
        spec,
        count=int(below[-1]) + nulls,
        nulls=nulls,
        bins=np.diff(at_edges, prepend=0, append=below[-1]).astype(np.int64),
        mean=mean,
        m2=float(counts @ (values - mean) ** 2),
        minimum=float(values[0]),
        maximum=float(values[-1]),
        off_edge=int(counts[~np.isin(values, spec.edge_array)].sum()) if spec.discrete else 0,
    )


def _texts(values: npt.NDArray[Any], counts: Ints, nulls: int, spec: ColumnSpec | None) -> ColumnState:
    by_name = dict(zip(values.tolist(), counts.tolist(), strict=True))
    if spec is None:
        named = sorted(by_name, key=lambda name: (-by_name[name], name))[:CATEGORIES]
        spec = ColumnSpec("x", "categorical", "string", categories=tuple(named))
    own = [by_name.get(name, 0) for name in spec.categories or ()]
    bins = np.array([*own, int(counts.sum()) - sum(own)], np.int64)
    return ColumnState(spec, count=int(counts.sum()) + nulls, nulls=nulls, bins=bins)


_POISSON = np.arange(40)
TABLE: dict[str, Population] = {
    **{f"normal {i}": continuous(stats.norm()) for i in range(3)},
    "uniform": continuous(stats.uniform()),
    "t, 3 degrees": continuous(stats.t(3)),
    "t, 2 degrees": continuous(stats.t(2)),
    "Cauchy": continuous(stats.cauchy()),
    "lognormal 1": continuous(stats.lognorm(1)),
    "lognormal 2": continuous(stats.lognorm(2)),
    "Pareto 1.5": continuous(stats.pareto(1.5)),
    "Poisson 3": integers(stats.poisson(3).pmf(_POISSON)),
    "0 to 99": integers(np.ones(100)),
    "90 % zero": with_zeros(stats.norm(), 0.9),
    "99 % zero": with_zeros(stats.expon(), 0.99),
    "10 % missing": continuous(stats.norm(), 0.1),
    "1 % missing": continuous(stats.norm(), 0.01),
    "six categories": categories(np.ones(6)),
    "flag, 2 %": categories([0.98, 0.02]),
    "500 categories": power_law(500, 1.5),
    "5000 categories": power_law(5000, 1.1),
}
# What is changed: from which population, to which. At the default thresholds SHIFTS are drift, SMALL are not.
SHIFTS: dict[str, tuple[str, Population]] = {
    "normal: mean by 0.2 deviations": ("normal 0", continuous(stats.norm(0.2))),
    "normal: mean by 0.3 deviations": ("normal 0", continuous(stats.norm(0.3))),
    "normal: deviation times 1.5": ("normal 0", continuous(stats.norm(0, 1.5))),
    "heavy-tailed (t, 3 degrees): location by 0.5": ("t, 3 degrees", continuous(stats.t(3, 0.5))),
    "heavy-tailed (Cauchy): location by 1": ("Cauchy", continuous(stats.cauchy(1))),
    "heavy-tailed (lognormal 1): times 1.5": ("lognormal 1", continuous(stats.lognorm(1, scale=1.5))),
    "heavy-tailed (Pareto 1.5): times 1.3": ("Pareto 1.5", continuous(stats.pareto(1.5, scale=1.3))),
    "discrete: Poisson 3 to 3.5": ("Poisson 3", integers(stats.poisson(3.5).pmf(_POISSON))),
    "discrete: Poisson 3 to 4": ("Poisson 3", integers(stats.poisson(4).pmf(_POISSON))),
    "zero-inflated: 90 to 80 % zero": ("90 % zero", with_zeros(stats.norm(), 0.8)),
    "zero-inflated: 99 to 95 % zero": ("99 % zero", with_zeros(stats.expon(), 0.95)),
    "zero-inflated: the others by 1 deviation": ("90 % zero", with_zeros(stats.norm(1), 0.9)),
    "missing: 1 to 10 %": ("1 % missing", continuous(stats.norm(), 0.1)),
    "missing: 10 to 20 %": ("10 % missing", continuous(stats.norm(), 0.2)),
    "six categories: one doubles": ("six categories", categories([2, 1, 1, 1, 1, 1])),
    "flag: 2 to 8 %": ("flag, 2 %", categories([0.92, 0.08])),
    "long tail, 500: exponent 1.5 to 1.2": ("500 categories", power_law(500, 1.2)),
    "long tail, 5000: exponent 1.1 to 0.9": ("5000 categories", power_law(5000, 0.9)),
}
SMALL: dict[str, tuple[str, Population]] = {
    "normal: mean by 0.05 deviations": ("normal 0", continuous(stats.norm(0.05))),
    "heavy-tailed (lognormal 1): times 1.05": ("lognormal 1", continuous(stats.lognorm(1, scale=1.05))),
    "discrete: Poisson 3 to 3.1": ("Poisson 3", integers(stats.poisson(3.1).pmf(_POISSON))),
    "zero-inflated: 90 to 89 % zero": ("90 % zero", with_zeros(stats.norm(), 0.89)),
    "missing: 1 to 2 %": ("1 % missing", continuous(stats.norm(), 0.02)),
    "flag: 2 to 3 %": ("flag, 2 %", categories([0.97, 0.03])),
    "long tail, 500: exponent 1.5 to 1.45": ("500 categories", power_law(500, 1.45)),
}
