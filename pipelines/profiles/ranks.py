"""The distribution function and the quantiles that a numeric state knows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.profiles.sketches import tops
from pipelines.profiles.specs import Floats, Ints
from pipelines.profiles.states import ColumnState


def distribution_function(state: ColumnState) -> tuple[Floats, Ints]:
    """Points of a numeric state's distribution: ``(x, n)`` with exactly ``n`` finite values <= ``x``."""
    if state.spec.frozen:
        return state.spec.edge_array, np.cumsum(state.bins[:-1])
    return tops(state.rungs, state.shift), np.cumsum(state.bins)


def quantiles(state: ColumnState, levels: npt.ArrayLike) -> list[float]:
    """Quantiles of the finite values of a numeric state, [] where there are none.

    Between two points of :func:`distribution_function` values are taken to lie evenly, so a quantile is off
    by at most the bin it lies in; where all values are kept (discrete, or at most 1024 distinct values
    without a baseline) it is an actual value, the smallest with that share at or below it.
    """
    n = state.finite
    if not n or state.minimum is None or state.maximum is None:
        return []
    ranks = np.asarray(levels, np.float64) * n
    x, below = distribution_function(state)
    if not state.off_edge and (state.spec.discrete or (not state.spec.frozen and state.shift == 0)):
        places = np.searchsorted(below, np.clip(np.ceil(ranks - 1e-9), 1, n))
        return [float(v) for v in x[places]]
    inside = (x > state.minimum) & (x < state.maximum)
    x = np.concatenate([[state.minimum], x[inside], [state.maximum]])
    return [float(v) for v in np.interp(ranks, np.concatenate([[0], below[inside], [n]]), x)]
