"""Distances between two profiles and the verdicts on them: pure arithmetic on stored counts.

**Cells.** Jensen-Shannon distance and population stability index compare shares of cells that the reference
alone determines: for numbers about 20 groups of its bins of equal mass, one cell below its smallest and one
above its largest value; for categories those it has seen at least five times, and all the rest together; and
one cell for missing values (null or NaN).

**Noise.** Two samples of one distribution differ too, so a distance is judged against what sampling alone
gives at the observed sizes n and m:

- Jensen-Shannon: for samples of one distribution the squared distance is chi2(K - 1) * (1/n + 1/m) / (8 ln 2)
  in the limit, K being the cells (second-order expansion, Lin 1991; distribution, Grosse et al. 2002). A cell
  expected to hold under five values counts 2 ln 2 instead of 1 (the bound of Topsøe 2000).
- Wasserstein: the area between two empirical distribution functions is sqrt(1/n + 1/m) times the integral of
  |Brownian bridge at F(x)| in the limit (del Barrio et al. 1999); its mean and variance follow from those of
  correlated half-normals, and a gamma distribution with both gives the quantile. Added to it is what the
  window's outermost values alone contribute beyond the reference's range, for heavy tails have no such limit.

A statistic *drifts* when it exceeds the noise's quantile at 1 - ALPHA / (number of statistics judged in the
table), so that a table without drift raises a false alarm at most one time in twenty, **and** what is left
after subtracting the expected noise in quadrature, sqrt(d^2 - E^2), reaches the threshold, so that the
verdict does not depend on the sample's size. A statistic *can judge* when a drift just at the threshold would
exceed that quantile: quantile^2 - E^2 <= threshold^2; it can also say that there is no drift where both it and
E are at most the threshold, for sampling makes a distance larger, not smaller. A column with no statistic that can judge, and none
that drifts, has *insufficient data*.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.errors import ConfigInvalid
from pipelines.profiles import ColumnState, Floats, Ints, TableProfile
from pipelines.records import Distribution, DriftFinding

# The promise is 0.05 per table. At n = 200 the limits above understate far tails several times (simulated).
ALPHA = 0.005
COARSE = 20  # groups of equal reference mass
SEEN = 5  # a category seen less often in the reference has no cell of its own
PSI_FLOOR = 1e-4  # least share of a cell in the population stability index
DISPLAY = 18  # groups between the outer ones on the page
SHOWN = 12  # categories on the page
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


class Noise(NamedTuple):
    """What a distance comes to by sampling alone: its root mean square or mean, and a high quantile."""

    expected: float
    quantile: float


class Bounded(NamedTuple):
    """A statistic and a bound on the error that comes from its stored state, 0 where that is exact."""

    value: float
    bound: float


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


def cells(reference: ColumnState, current: ColumnState) -> tuple[Floats, Floats]:
    """Counts of both on the cells of the reference (see the module), missing values last."""
    ref, cur = reference.bins.astype(np.float64), current.bins.astype(np.float64)
    if reference.spec.is_numeric:
        starts = _group_starts(ref, reference.spec.discrete)
        sides = [_with_infinities(_grouped(b, starts), s) for b, s in ((ref, reference), (cur, current))]
    else:
        own = np.append(ref[:-1] >= SEEN, False)
        sides = [np.append(b[own], b[~own].sum()) for b in (ref, cur)]
    return np.append(sides[0], reference.missing), np.append(sides[1], current.missing)


def js_distance(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Jensen-Shannon distance of two vectors of counts, between 0 and 1.

    Base 2; the square root of the divergence (Lin 1991), a metric (Endres & Schindelin 2003).
    """
    a, b = _shares(p), _shares(q)
    middle = (a + b) / 2
    return float(np.sqrt(max(0.0, (_information(a, middle) + _information(b, middle)) / 2)))


def js_noise(p: Floats, q: Floats, alpha: float) -> Noise:
    """Jensen-Shannon distance of two samples of one distribution of the sizes of ``p`` and ``q``."""
    from scipy.special import chdtri

    n, m = p.sum(), q.sum()
    pooled = (p + q) / (n + m)
    held = pooled[pooled > 0]
    weight = np.where(held * min(n, m) < SEEN, 2 * np.log(2), 1.0)
    freedom = max(float(weight.sum()) - 1, 1e-9)
    scale = (1 / n + 1 / m) / (8 * np.log(2))
    return Noise(float(np.sqrt(freedom * scale)), float(np.sqrt(chdtri(freedom, alpha) * scale)))


def population_stability_index(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Sum of (q - p) ln(q / p) over shares, each at least 0.0001 (the floor)."""
    a, b = np.maximum(_shares(p), PSI_FLOOR), np.maximum(_shares(q), PSI_FLOOR)
    return float(((b - a) * np.log(b / a)).sum())


def kolmogorov_smirnov(reference: ColumnState, current: ColumnState) -> Bounded:
    """Largest difference of the two distribution functions at the bin edges.

    Between edges the true one may be larger by at most the bound; it is 0 where every value is on an edge.
    """
    f, g = (_below(state, infinities=True) for state in (reference, current))
    found = float(np.abs(f - g).max())
    if _on_edges(reference, current):
        return Bounded(found, 0.0)
    low_f, high_f, low_g, high_g = np.append(0, f), np.append(f, 1), np.append(0, g), np.append(g, 1)
    return Bounded(found, float(max(0.0, np.maximum(high_f - low_g, high_g - low_f).max() - found)))


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
    x = _knots(reference, current)
    f, g = (np.concatenate([[0.0], _below(state), [1.0]]) for state in (reference, current))
    width, gap = np.diff(x), f - g
    if _on_edges(reference, current):
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


def wasserstein_noise(reference: ColumnState, current: ColumnState, alpha: float) -> Noise:
    """Area between the distribution functions of two samples of one distribution of the same sizes."""
    from scipy.special import gammaincinv

    n, m = reference.finite, current.finite
    x, f = _knots(reference, current), np.concatenate([[0.0], _pooled_below(reference, current)])
    # Each interval stands for one point of F, where the bridge's variance is F (1 - F).
    middle = f if _on_edges(reference, current) else np.clip((f + np.append(f[1:], 1.0)) / 2, 0.0, 1.0)
    deviation = np.diff(x) * np.sqrt(middle * (1 - middle))
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.sqrt(middle / (1 - middle))
        rho = np.nan_to_num(np.minimum.outer(odds, odds) / np.maximum.outer(odds, odds), nan=1.0)
    rho = np.clip(rho, 0.0, 1.0)
    covariance = (np.sqrt(1 - rho**2) + rho * np.arcsin(rho) - 1) * 2 / np.pi
    mean = np.sqrt(2 / np.pi) * deviation.sum()
    variance = deviation @ covariance @ deviation
    if not variance > 0 or not np.isfinite(variance):
        return Noise(0.0, 0.0)
    size = np.sqrt(1 / n + 1 / m)
    quantile = gammaincinv(mean**2 / variance, 1 - alpha) * variance / mean
    return Noise(float(mean * size), float(quantile * size) + _reach(reference, current))


def chi_squared(p: npt.ArrayLike, q: npt.ArrayLike) -> tuple[float, float]:
    """Pearson's test of homogeneity of two vectors of counts: statistic and p-value, without correction."""
    from scipy.special import chdtrc

    table = np.array([p, q], np.float64)
    table = table[:, table.sum(axis=0) > 0]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    freedom = table.shape[1] - 1
    return statistic, float(chdtrc(freedom, statistic)) if freedom else 1.0


def distributions(reference: TableProfile, current: TableProfile) -> tuple[Distribution, ...]:
    """The shares of both on the same bins, for the page: columns that both have, in the reference's order.

    Numbers: up to 20 bins between frozen edges, of about equal width between the 1st and the 99th percentile
    of the reference, the outer ones open. Categories: the 12 most frequent of the reference, then ``other``.
    Last comes ``null`` (missing values).
    """
    shared = [(s, current.columns[name]) for name, s in reference.columns.items() if name in current.columns]
    return tuple(_distribution(ref, cur) for ref, cur in shared if ref.spec == cur.spec and ref.spec.frozen)


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
    measured = _measured(ref, cur)
    judged = list(_judged(ref, cur, measured, limits, alpha))
    # The statistic that decides is the one that drifts, or came nearest to it.
    decisive = max(judged, key=lambda j: (j.drifts, j.excess / j.threshold if j.threshold else np.inf))
    powered = any(j.can_judge for j in judged)
    return DriftFinding(
        **about,
        **measured,
        **_deltas(ref, cur),
        verdict="drift" if decisive.drifts else "ok" if powered else "insufficient_data",
        statistic=decisive.statistic,
        threshold=decisive.threshold,
    )


def _measured(ref: ColumnState, cur: ColumnState) -> dict[str, Any]:
    p, q = cells(ref, cur)
    found: dict[str, Any] = {
        "js_distance": js_distance(p, q),
        "population_stability_index": population_stability_index(p, q),
    }
    n, m = ref.count - ref.missing, cur.count - cur.missing
    if not n or not m:
        return found
    return found | (_measured_numbers(ref, cur, n, m) if ref.spec.is_numeric else _measured_texts(ref, cur))


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
    difference = np.abs(_shares(ref.bins) - _shares(cur.bins))
    statistic, pvalue = chi_squared(ref.bins, cur.bins)
    return {
        "chi_squared_statistic": statistic,
        "chi_squared_pvalue": pvalue,
        "tv_distance": float(difference.sum() / 2),
        "l_infinity_distance": float(difference.max()),
    }


def _judged(
    ref: ColumnState, cur: ColumnState, measured: Mapping[str, Any], limits: tuple[float, float], alpha: float
) -> Iterator[Judged]:
    yield Judged("js_distance", measured["js_distance"], limits[0], js_noise(*cells(ref, cur), alpha))
    distance = measured.get("wasserstein_distance")
    if distance is not None and ref.stddev:
        noise = wasserstein_noise(ref, cur, alpha)
        unit = Noise(noise.expected / ref.stddev, noise.quantile / ref.stddev)
        yield Judged("wasserstein_distance", distance, limits[1], unit)


def _deltas(ref: ColumnState, cur: ColumnState) -> dict[str, Any]:
    def change(of: str) -> float:
        return 100 * (getattr(cur, of) / cur.count - getattr(ref, of) / ref.count)

    found = {"percent_null_delta": change("nulls"), "percent_distinct_delta": change("distinct")}
    return found | ({"percent_zeros_delta": change("zeros")} if ref.spec.kind == "numeric" else {})


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


def _group_starts(bins: Floats, discrete: bool) -> npt.NDArray[np.intp]:
    """Where the groups of the inner bins begin: each value its own if few, else by equal reference mass."""
    inner = bins[1:-1]
    if discrete and len(inner) <= COARSE:
        return np.arange(len(inner))
    middle = (np.cumsum(inner) - inner / 2) / max(inner.sum(), 1.0)
    group = np.floor(COARSE * middle)
    return np.flatnonzero(np.diff(group, prepend=-1))


def _grouped(bins: Floats, starts: npt.NDArray[np.intp]) -> Floats:
    inner = np.add.reduceat(bins[1:-1], starts) if len(starts) else bins[1:-1]
    return np.concatenate([bins[:1], inner, bins[-1:]])


def _with_infinities(tallies: Floats | Ints, state: ColumnState) -> Floats:
    counts = tallies.astype(np.float64)
    counts[0] += state.negative_infinities
    counts[-1] += state.positive_infinities
    return counts


def _shares(counts: npt.ArrayLike) -> Floats:
    plain = np.asarray(counts, np.float64)
    total = plain.sum()
    return plain / total if total else plain


def _information(a: Floats, middle: Floats) -> float:
    held = a > 0
    return float((a[held] * np.log2(a[held] / middle[held])).sum())


def _on_edges(*states: ColumnState) -> bool:
    return all(s.spec.discrete and not s.off_edge for s in states)


def _below(state: ColumnState, infinities: bool = False) -> Floats:
    """Shares of (finite) values at or below each edge."""
    counts = np.cumsum(state.bins[:-1])
    if not infinities:
        return counts / state.finite
    return (counts + state.negative_infinities) / (state.count - state.missing)


def _reach(ref: ColumnState, cur: ColumnState) -> float:
    """What the window's one smallest and one largest value add to the area beyond the reference's range.

    Heavy tails have no limit law; this keeps a single far value from deciding.
    """
    if ref.minimum is None or ref.maximum is None or cur.minimum is None or cur.maximum is None:
        return 0.0
    beyond = max(0.0, cur.maximum - ref.maximum) + max(0.0, ref.minimum - cur.minimum)
    return float(beyond) / cur.finite


def _pooled_below(ref: ColumnState, cur: ColumnState) -> Floats:
    return np.cumsum((ref.bins + cur.bins)[:-1]) / (ref.finite + cur.finite)


def _knots(*states: ColumnState) -> Floats:
    """The edges, with the smallest and the largest value of both in front and behind."""
    x = states[0].spec.edge_array
    low = min(float(s.minimum) for s in states if s.minimum is not None)
    high = max(float(s.maximum) for s in states if s.maximum is not None)
    return np.concatenate([[min(low, x[0])], x, [max(high, x[-1])]])


def _mean_positive(left: Floats, right: Floats) -> Floats:
    """Mean of the positive part of the line from left to right."""
    high, low = np.maximum(left, right), np.minimum(left, right)
    crossing = np.divide(high**2, 2 * (high - low), out=np.zeros_like(high), where=high > low)
    return np.where(low >= 0, (high + low) / 2, np.where(high > 0, crossing, 0.0))


def _distribution(ref: ColumnState, cur: ColumnState) -> Distribution:
    labels, sides = (_shown_numbers if ref.spec.is_numeric else _shown_categories)(ref, cur)
    p, q = (_shares(np.append(side, s.missing)) for side, s in zip(sides, (ref, cur), strict=True))
    return Distribution(
        column=ref.spec.name,
        kind="numeric" if ref.spec.is_numeric else "categorical",
        labels=(*labels, "null"),
        baseline=tuple(p.tolist()),
        current=tuple(q.tolist()),
    )


def _shown_categories(ref: ColumnState, cur: ColumnState) -> tuple[list[str], list[Floats]]:
    shown = np.argsort(-ref.bins[:-1], kind="stable")[:SHOWN]
    labels = [*((ref.spec.categories or ())[i] for i in shown), "other"]
    return labels, [np.append(s.bins[shown], s.bins.sum() - s.bins[shown].sum()) for s in (ref, cur)]


def _shown_numbers(ref: ColumnState, cur: ColumnState) -> tuple[list[str], list[Floats]]:
    edges = ref.spec.edge_array
    if ref.spec.discrete and len(edges) <= DISPLAY + 1:
        return _shown_values(ref, cur)
    below = _below(ref) if ref.finite else np.linspace(0, 1, len(edges))
    low, high = np.interp([0.01, 0.99], below, edges)
    marks = np.unique(np.searchsorted(edges, np.linspace(low, high, DISPLAY + 1)).clip(1, len(edges) - 1))
    names = _texts(edges[marks], ref.spec.kind == "datetime")
    labels = [f"≤ {names[0]}", *(f"{a} to {b}" for a, b in itertools.pairwise(names)), f"> {names[-1]}"]
    starts = np.concatenate([[0], marks + 1])
    grouped = ((np.add.reduceat(s.bins, starts), s) for s in (ref, cur))
    return labels, [_with_infinities(counts, state) for counts, state in grouped]


def _shown_values(ref: ColumnState, cur: ColumnState) -> tuple[list[str], list[Floats]]:
    names = _texts(ref.spec.edge_array[1:], ref.spec.kind == "datetime")
    labels = [f"< {names[0]}", *names, f"> {names[-1]}"] if names else ["≤ 0", "> 0"]
    return labels, [_with_infinities(s.bins, s) for s in (ref, cur)]


def _texts(values: Floats, times: bool) -> list[str]:
    """Short texts of increasing values, with as many digits as it takes to tell them apart."""
    if times:
        return [str(np.datetime64(int(v), "s")) for v in values]
    for digits in range(3, 17):
        names = [f"{v:.{digits}g}" for v in values]
        if len(set(names)) == len(names):
            return names
    return [repr(float(v)) for v in values]
