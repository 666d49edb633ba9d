"""Reference data as a profile, and the bins and categories that are fixed by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipelines.errors import ConfigInvalid
from pipelines.profiles.batches import as_arrow, data_type_of, numbers
from pipelines.profiles.ranks import distribution_function
from pipelines.profiles.sketches import heaviest
from pipelines.profiles.slices import Slices
from pipelines.profiles.specs import INTEGERS, ColumnSpec, Floats, Ints, free_spec
from pipelines.profiles.states import TRACKED, ColumnState
from pipelines.profiles.tables import TableProfile

if TYPE_CHECKING:
    import pandas as pd

EDGES = 256  # most reference values kept as bin edges of one column
CATEGORIES = 200  # most reference categories with a bin of their own


def baseline_from_pandas(
    frame: pd.DataFrame,
    predictions: Any = None,
    *,
    source: str = "training data",
    slices: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The baseline profile of a reference frame, as plain data to log as JSON with the model version.

    Missing values are nulls, as pandas means them. Columns of arrays, lists or bytes are left out.

    Args:
        frame: the features, one column each.
        predictions: what the model says of these rows, None for no prediction columns. One dimension gives
            ``prediction``; a matrix gives ``probability_0``, ...; a data frame keeps ``prediction`` and
            names every other column ``probability_<its name>``.
        source: what the rows are, in words, for the report.
        slices: by slicing expression, as the configuration has it, its value for each row.

    Raises:
        ConfigInvalid: no rows, or no column that can be profiled.
    """
    given = {str(name): frame[name] for name in frame.columns} | _prediction_columns(predictions)
    arrays = {name: as_arrow(values, None) for name, values in given.items()}
    specs = {name: free_spec(name, data_type_of(array.type)) for name, array in arrays.items()}
    states = [_reference(spec, arrays[spec.name]) for spec in specs.values() if spec]
    if not len(frame) or not states:
        raise ConfigInvalid(
            f"A baseline needs rows and columns of numbers, texts, booleans or times; found {frame.shape}.",
            hint="Give the frame the model was trained on.",
        )
    profile = TableProfile({state.spec.name: state for state in states})
    specs_by_name = {state.spec.name: state.spec for state in states}
    profile.slices.update(specs_by_name, arrays, slices or {})
    return profile.to_dict() | {"source": source, "rows": len(frame)}


def specs_from(profile: TableProfile) -> tuple[ColumnSpec, ...]:
    """The specs by which a window is counted so that it can be compared with ``profile``."""
    return freeze(profile).specs


def freeze(profile: TableProfile) -> TableProfile:
    """The same counts on bins and categories fixed from now on; frozen columns stay as they are."""
    columns = {name: _frozen(state) for name, state in profile.columns.items()}
    parts = {
        part: {name: _recounted(state, columns[name].spec) for name, state in states.items()}
        for part, states in profile.slices.parts.items()
    }
    return TableProfile(columns, Slices(parts, profile.slices.given_up), profile.facts)


def _recounted(state: ColumnState, spec: ColumnSpec) -> ColumnState:
    """The counts of a slice on the bins of the whole table.

    Exact for numbers, for the rungs of a part lie within those of the whole; categories are as exact as the
    part has them by name.
    """
    if state.spec.frozen:
        return replace(state)
    if spec.is_numeric:
        x, below = distribution_function(state)
        at_edges = np.concatenate([[0], below])[np.searchsorted(x, spec.edge_array, "right")]
        bins = np.diff(at_edges, prepend=0, append=state.finite)
        return replace(state, spec=spec, bins=bins, rungs=state.rungs[:0], shift=0)
    named = [state.tracked.get(name, 0) for name in spec.categories or ()]
    kept, cut = heaviest(
        {k: n for k, n in state.tracked.items() if k not in (spec.categories or ())}, TRACKED[True]
    )
    counts = np.array([*named, state.finite - sum(named)], np.int64)
    return replace(state, spec=spec, bins=counts, tracked=kept, undercount=state.undercount + cut)


def _frozen(state: ColumnState) -> ColumnState:
    if state.spec.frozen:
        return replace(state)
    if not state.spec.is_numeric:
        named = dict(state.frequent[:CATEGORIES])
        counts = [*named.values(), state.finite - sum(named.values())]
        rest = {name: n for name, n in state.tracked.items() if name not in named}
        kept, cut = heaviest(rest, TRACKED[True])
        spec = replace(state.spec, categories=tuple(named))
        return replace(
            state, spec=spec, bins=np.array(counts, np.int64), tracked=kept, undercount=state.undercount + cut
        )
    x, below = distribution_function(state)
    edges, places = _chosen_edges(x, below, state.minimum)
    spec = replace(state.spec, edges=edges, discrete=state.shift == 0 and len(places) == len(x))
    counts_below = np.concatenate([[0], below[places]]) if len(x) else np.zeros(1, np.int64)
    bins = np.diff(counts_below, prepend=0, append=state.finite)
    return replace(state, spec=spec, bins=bins, rungs=state.rungs[:0], shift=0)


def _reference(spec: ColumnSpec, array: pa.Array) -> ColumnState:
    """The frozen state of reference data: edges are actual values of it."""
    free = ColumnState.empty(spec)
    free.update(array)
    if not spec.is_numeric or free.shift == 0:
        return _frozen(free)
    values, _ = numbers(array, None, spec.data_type in INTEGERS)
    floats = values[np.isfinite(values)].astype(np.float64)
    starts = np.flatnonzero(np.diff(floats, prepend=-np.inf))
    below = np.append(starts[1:], len(floats))
    edges, _ = _chosen_edges(floats[starts], below, free.minimum)
    state = ColumnState.empty(replace(spec, edges=edges))
    state.update(array)
    return state


def _chosen_edges(x: Floats, below: Ints, minimum: float | None) -> tuple[tuple[float, ...], Ints]:
    """At most 256 of the points ``x`` as edges, evenly spread in rank and closer in the tails.

    Returns:
        The edges, one below the minimum in front of them, and the places of the others in ``x``. A column
        without a single value gets the edge 0.
    """
    if minimum is None:
        return (0.0,), np.zeros(0, np.int64)
    places = np.arange(len(x))
    if len(x) > EDGES:
        tails = 0.5 ** np.arange(9, 16)
        levels = np.sort(np.concatenate([np.linspace(0, 1, EDGES - 2 * len(tails)), tails, 1 - tails]))
        places = np.searchsorted(below, np.maximum(np.ceil(levels * below[-1]), 1))
        places = places[np.diff(places, prepend=-1) > 0]
    under = np.nextafter(float(minimum), -np.inf)
    return (float(under), *x[places].tolist()), places


def _prediction_columns(predictions: Any) -> dict[str, Any]:
    if predictions is None:
        return {}
    if hasattr(predictions, "columns"):
        names = {
            c: c if str(c).startswith(("prediction", "probability_")) else f"probability_{c}"
            for c in predictions
        }
        return {str(name): predictions[column] for column, name in names.items()}
    values = np.asarray(predictions)
    if values.ndim == 1:
        return {"prediction": values}
    return {f"probability_{i}": values[:, i] for i in range(values.shape[1])}
