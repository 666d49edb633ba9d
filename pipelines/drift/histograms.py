"""Both distributions of a column on the same few bins, for the page."""

from __future__ import annotations

import itertools

import numpy as np

from pipelines.drift.bins import shares, shares_below, with_infinities
from pipelines.profiles import ColumnState, Floats, TableProfile
from pipelines.records import Distribution

DISPLAY = 18  # groups between the outer ones
SHOWN = 12  # categories


def distributions(reference: TableProfile, current: TableProfile) -> tuple[Distribution, ...]:
    """The shares of both on the same bins, for the page: columns that both have, in the reference's order.

    Numbers: up to 20 bins between frozen edges, of about equal width between the 1st and the 99th percentile
    of the reference, the outer ones open. Categories: the 12 most frequent of the reference, then ``other``.
    Last comes ``null`` (missing values).
    """
    shared = [(s, current.columns[name]) for name, s in reference.columns.items() if name in current.columns]
    return tuple(_distribution(ref, cur) for ref, cur in shared if ref.spec == cur.spec and ref.spec.frozen)


def _distribution(ref: ColumnState, cur: ColumnState) -> Distribution:
    labels, sides = (_shown_numbers if ref.spec.is_numeric else _shown_categories)(ref, cur)
    p, q = (shares(np.append(side, s.missing)) for side, s in zip(sides, (ref, cur), strict=True))
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
    below = shares_below(ref) if ref.finite else np.linspace(0, 1, len(edges))
    low, high = np.interp([0.01, 0.99], below, edges)
    marks = np.unique(np.searchsorted(edges, np.linspace(low, high, DISPLAY + 1)).clip(1, len(edges) - 1))
    names = _texts(edges[marks], ref.spec.kind == "datetime")
    labels = [f"≤ {names[0]}", *(f"{a} to {b}" for a, b in itertools.pairwise(names)), f"> {names[-1]}"]
    starts = np.concatenate([[0], marks + 1])
    grouped = ((np.add.reduceat(s.bins, starts), s) for s in (ref, cur))
    return labels, [with_infinities(counts, state) for counts, state in grouped]


def _shown_values(ref: ColumnState, cur: ColumnState) -> tuple[list[str], list[Floats]]:
    names = _texts(ref.spec.edge_array[1:], ref.spec.kind == "datetime")
    labels = [f"< {names[0]}", *names, f"> {names[-1]}"] if names else ["≤ 0", "> 0"]
    return labels, [with_infinities(s.bins, s) for s in (ref, cur)]


def _texts(values: Floats, times: bool) -> list[str]:
    """Short texts of increasing values, with as many digits as it takes to tell them apart."""
    if times:
        return [str(np.datetime64(int(v), "s")) for v in values]
    for digits in range(3, 17):
        names = [f"{v:.{digits}g}" for v in values]
        if len(set(names)) == len(names):
            return names
    return [repr(float(v)) for v in values]
