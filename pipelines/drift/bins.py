"""Cells and points: what of two states on the same bins is compared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.profiles import ColumnState, Floats, Ints

COARSE = 20  # groups of equal reference mass
SEEN = 5  # a category seen less often in the reference has no cell of its own


def cells(reference: ColumnState, current: ColumnState) -> tuple[Floats, Floats]:
    """Counts of both on the cells of the reference (see the package), missing values last."""
    if reference.spec.kind == "datetime":
        present = [np.array([float(s.count - s.missing)]) for s in (reference, current)]
        return np.append(present[0], reference.missing), np.append(present[1], current.missing)
    ref, cur = reference.bins.astype(np.float64), current.bins.astype(np.float64)
    if reference.spec.is_numeric:
        starts = _group_starts(ref, reference.spec.discrete)
        sides = [with_infinities(_grouped(b, starts), s) for b, s in ((ref, reference), (cur, current))]
    else:
        own = np.append(ref[:-1] >= SEEN, False)
        sides = [np.append(b[own], b[~own].sum()) for b in (ref, cur)]
    return np.append(sides[0], reference.missing), np.append(sides[1], current.missing)


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


def with_infinities(tallies: Floats | Ints, state: ColumnState) -> Floats:
    """Counts with the infinite values of a numeric state in the outermost."""
    counts = tallies.astype(np.float64)
    counts[0] += state.negative_infinities
    counts[-1] += state.positive_infinities
    return counts


def shares(counts: npt.ArrayLike) -> Floats:
    """Counts as shares of their sum; zeros where that is zero."""
    plain = np.asarray(counts, np.float64)
    total = plain.sum()
    return plain / total if total else plain


def on_edges(*states: ColumnState) -> bool:
    """Whether every finite value of the states is an edge."""
    return all(s.spec.discrete and not s.off_edge for s in states)


def shares_below(state: ColumnState, infinities: bool = False) -> Floats:
    """Shares of (finite) values at or below each edge."""
    counts = np.cumsum(state.bins[:-1])
    if not infinities:
        return counts / state.finite
    return (counts + state.negative_infinities) / (state.count - state.missing)


def pooled_shares_below(ref: ColumnState, cur: ColumnState) -> Floats:
    """Shares of the finite values of both at or below each edge."""
    return np.cumsum((ref.bins + cur.bins)[:-1]) / (ref.finite + cur.finite)


def knots(*states: ColumnState) -> Floats:
    """The edges, with the smallest and the largest value of both in front and behind."""
    x = states[0].spec.edge_array
    low = min(float(s.minimum) for s in states if s.minimum is not None)
    high = max(float(s.maximum) for s in states if s.maximum is not None)
    return np.concatenate([[min(low, x[0])], x, [max(high, x[-1])]])
