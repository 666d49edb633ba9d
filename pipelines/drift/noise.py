"""What a distance comes to by sampling alone: two samples of one distribution differ too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipelines.drift.bins import SEEN, knots, on_edges, pooled_shares_below
from pipelines.profiles import ColumnState, Floats


class Noise(NamedTuple):
    """What a distance comes to by sampling alone: its root mean square or mean, and a high quantile."""

    expected: float
    quantile: float


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


def wasserstein_noise(reference: ColumnState, current: ColumnState, alpha: float) -> Noise:
    """Area between the distribution functions of two samples of one distribution of the same sizes."""
    from scipy.special import gammaincinv

    n, m = reference.finite, current.finite
    x, f = knots(reference, current), np.concatenate([[0.0], pooled_shares_below(reference, current)])
    # Each interval stands for one point of F, where the bridge's variance is F (1 - F).
    middle = f if on_edges(reference, current) else np.clip((f + np.append(f[1:], 1.0)) / 2, 0.0, 1.0)
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


def _reach(ref: ColumnState, cur: ColumnState) -> float:
    """What the window's one smallest and one largest value add to the area beyond the reference's range.

    Heavy tails have no limit law; this keeps a single far value from deciding.
    """
    if ref.minimum is None or ref.maximum is None or cur.minimum is None or cur.maximum is None:
        return 0.0
    beyond = max(0.0, cur.maximum - ref.maximum) + max(0.0, ref.minimum - cur.minimum)
    return float(beyond) / cur.finite
