"""What a distance comes to by sampling alone: two samples of one distribution differ too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipelines.drift.bins import knots, on_edges, pooled_shares_below
from pipelines.drift.distances import js_divergences
from pipelines.profiles import ColumnState, Floats

DRAWS = 300  # resamples for the moments of the Jensen-Shannon divergence
PLENTY = 50  # expected values of a cell from which on its limit law is good enough
SEED = 20_260_101  # fixed: the same counts get the same verdict


class Noise(NamedTuple):
    """What a distance comes to by sampling alone: its root mean square or mean, and a high quantile."""

    expected: float
    quantile: float


def js_noise(p: Floats, q: Floats, alpha: float) -> Noise:
    """Jensen-Shannon distance of two samples of one distribution of the sizes of ``p`` and ``q``."""
    from scipy.special import gammainccinv

    n, m = int(p.sum()), int(q.sum())
    pooled = (p + q) / (n + m)
    held = pooled[pooled > 0]
    if len(held) < 2:
        return Noise(0.0, 0.0)
    if held.min() * min(n, m) >= PLENTY:
        scale = (1 / n + 1 / m) / (8 * np.log(2))  # of one degree of freedom
        mean, variance = (len(held) - 1) * scale, 2 * (len(held) - 1) * scale**2
    else:
        rng = np.random.default_rng(SEED)
        draws = js_divergences(rng.multinomial(n, held, DRAWS), rng.multinomial(m, held, DRAWS))
        mean, variance = float(draws.mean()), float(draws.var())
    quantile = gammainccinv(mean**2 / variance, alpha) * variance / mean
    return Noise(float(np.sqrt(mean)), float(np.sqrt(quantile)))


def wasserstein_noise(reference: ColumnState, current: ColumnState, alpha: float) -> Noise:
    """Area between the distribution functions of two samples of one distribution of the same sizes."""
    from scipy.special import gammainccinv

    n, m = reference.finite, current.finite
    x, f = knots(reference, current), np.concatenate([[0.0], pooled_shares_below(reference, current)])
    # Each interval stands for one point of F, where the bridge's variance is F (1 - F).
    middle = f if on_edges(reference, current) else np.clip((f + np.append(f[1:], 1.0)) / 2, 0.0, 1.0)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # values near the largest double: then there is no bound
        deviation = np.diff(x) * np.sqrt(middle * (1 - middle))
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.sqrt(middle / (1 - middle))
        rho = np.nan_to_num(np.minimum.outer(odds, odds) / np.maximum.outer(odds, odds), nan=1.0)
    rho = np.clip(rho, 0.0, 1.0)
    covariance = (np.sqrt(1 - rho**2) + rho * np.arcsin(rho) - 1) * 2 / np.pi
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.sqrt(2 / np.pi) * deviation.sum()
        variance = deviation @ covariance @ deviation
    if not variance > 0 or not np.isfinite(variance):
        return Noise(0.0, 0.0)
    size = np.sqrt(1 / n + 1 / m)
    quantile = gammainccinv(mean**2 / variance, alpha) * variance / mean
    # Bernstein's term for bounded values: with heavy tails a few far ones weigh more than any limit law says.
    far = (x[-1] - x[0]) * np.log(1 / alpha) / (3 * min(n, m))
    return Noise(float(mean * size), float(quantile * size + far))
