"""Distances between two profiles and the verdicts on them: pure arithmetic on stored counts.

**Cells.** Jensen-Shannon distance and population stability index compare shares of cells that the reference
alone determines: for numbers about 20 groups of its bins of equal mass, one cell below its smallest and one
above its largest value; for categories those it has seen at least five times, and all the rest together; and
one cell for missing values (null or NaN). Times move on, so that they have two cells, present and missing; where
they lie is measured, and judged only where the column has a Wasserstein threshold of its own.

**Noise.** Two samples of one distribution differ too, so a distance is judged against what sampling alone
gives at the observed sizes n and m:

- Jensen-Shannon: for samples of one distribution the squared distance is chi2(K - 1) * (1/n + 1/m) / (8 ln 2)
  in the limit, K being the cells (second-order expansion, Lin 1991; distribution, Grosse et al. 2002). Where a
  cell is expected to hold under 50 values, the limit is too small; then the mean and the variance of the squared
  distance come from 300 resamples of the pooled cells (parametric bootstrap, Efron & Tibshirani 1993), and the
  quantile from the gamma distribution with both.
- Wasserstein: the area between two empirical distribution functions is sqrt(1/n + 1/m) times the integral of
  |Brownian bridge at F(x)| in the limit (del Barrio et al. 1999); its mean and variance follow from those of
  correlated half-normals, and a gamma distribution with both gives the quantile. Added is R ln(1/alpha) /
  (3 min(n, m)) with R the range of all values, the term of Bernstein's inequality (1946; for the largest of many
  means: Bousquet 2002) for what few far values do to heavy tails, which have no such limit.

A statistic *drifts* when it exceeds the noise's quantile at 1 - alpha **and** what is left after subtracting the
expected noise in quadrature, sqrt(d^2 - E^2), reaches the threshold, so that the verdict does not depend on the
sample's size. A statistic *can judge* when a drift just at the threshold would exceed that quantile:
quantile^2 - E^2 <= threshold^2; it can also say that there is no drift where both it and E are at most the
threshold, for sampling makes a distance larger, not smaller. A column with no statistic that can judge, and none
that drifts, has *insufficient data*.

**Many columns.** alpha is ALPHA = 0.0005 divided by the number of statistics that are judged, in the table and
all its slices (Bonferroni). That bounds the expected *number* of false alarms of a comparison by ALPHA, whatever
the columns have to do with each other, and so the chance of any: stricter than control of the false discovery
rate, which would let some through whenever others are true. ``make study-drift`` measures it (docs/drift-study.md).
"""

from __future__ import annotations

from pipelines.drift.comparison import compare
from pipelines.drift.distances import (
    chi_squared,
    js_distance,
    kolmogorov_smirnov,
    population_stability_index,
    wasserstein,
)
from pipelines.drift.histograms import distributions
from pipelines.drift.verdicts import Thresholds
from pipelines.drift.whole import TABLE

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
