"""Column profiles as mergeable states, computed in the scoring workers batch by batch.

The state of a column is *exact* where a verdict depends on it: bins and categories are frozen in the
baseline, and a window is described by its counts on them. So profile(A + B) = merge(profile(A), profile(B))
to the last count, whatever the batches and partitions; mean and standard deviation alone depend on the
order of merging, in the last digits (Chan et al. 1979), so merge in a fixed order.

A column without a baseline is *free*. Its numbers fall on a ladder of at most 1024 rungs: the bits of a
double, made order-preserving, with as many low bits dropped as needed (uniform collapse, after Epicoco et
al. 2020, "UDDSketch"). Which bits are dropped depends on the set of values alone, so the merge law stays
exact. :func:`freeze` turns a free profile into a frozen one for later comparison.

A profile may also hold its *slices*: the same columns on the same bins, for each value of an expression, and
*facts* of the table as a whole.

Values are accounted for by one law: ``count = nulls + nans + infinities + sum(bins)``.
"""

from __future__ import annotations

from pipelines.profiles.baselines import baseline_from_pandas, freeze, specs_from
from pipelines.profiles.facts import TableFacts
from pipelines.profiles.ranks import distribution_function, quantiles
from pipelines.profiles.slices import Slice, Slices
from pipelines.profiles.specs import ColumnSpec, Floats, Ints, free_spec
from pipelines.profiles.states import ColumnState
from pipelines.profiles.tables import TableProfile, load_baseline

__all__ = [
    "ColumnSpec",
    "ColumnState",
    "Floats",
    "Ints",
    "Slice",
    "Slices",
    "TableFacts",
    "TableProfile",
    "baseline_from_pandas",
    "distribution_function",
    "free_spec",
    "freeze",
    "load_baseline",
    "quantiles",
    "specs_from",
]
