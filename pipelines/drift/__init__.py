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
E are at most the threshold, for sampling makes a distance larger, not smaller. A column with no statistic that can
judge, and none that drifts, has *insufficient data*.
"""

from __future__ import annotations

from pipelines.drift.distances import (
    chi_squared,
    js_distance,
    kolmogorov_smirnov,
    population_stability_index,
    wasserstein,
)
from pipelines.drift.histograms import distributions
from pipelines.drift.verdicts import TABLE, Thresholds, compare

__all__ = [
    "TABLE",
    "Thresholds",
    "chi_squared",
    "compare",
    "distributions",
    "js_distance",
    "kolmogorov_smirnov",
    "population_stability_index",
    "wasserstein",
]
