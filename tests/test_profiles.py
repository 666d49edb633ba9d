"""Profiles: every value is accounted for, and parts merge to the whole."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.errors import ConfigInvalid
from pipelines.profiles import (
    ColumnSpec,
    ColumnState,
    TableFacts,
    TableProfile,
    baseline_from_pandas,
    free_spec,
    freeze,
    load_baseline,
    quantiles,
)
from pipelines.profiles.baselines import CATEGORIES, EDGES
from pipelines.profiles.sketches import HASHES, RUNGS
from pipelines.profiles.slices import VALUES
from pipelines.profiles.states import TRACKED
from pipelines.profiles.tables import FORMAT

NUMBERS = ColumnSpec("x", "numeric", "double", edges=(-1.5, -1.0, 0.0, 2.0, 1e6))
FREE = ColumnSpec("x", "numeric", "double")
WORDS = ColumnSpec("w", "categorical", "string", categories=("a", "b", "ünïcode"))
FREE_WORDS = ColumnSpec("w", "categorical", "string")

floats = hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(allow_nan=True, allow_infinity=True))
words = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "", "new", "ünïcode"]), st.text(max_size=9)))


def counted(spec: ColumnSpec, *batches: Any) -> ColumnState:
    state = ColumnState.empty(spec)
    for batch in batches:
        state.update(batch)
    return state


def exact(state: ColumnState) -> dict[str, Any]:
    """Everything that may not depend on the order of merging."""
    return {k: v for k, v in state.to_dict().items() if k not in ("mean", "m2")}


def of_frame(frame: pd.DataFrame, predictions: Any = None) -> TableProfile:
    return load_baseline(json.loads(json.dumps(baseline_from_pandas(frame, predictions))))


@pytest.mark.parametrize("spec", [NUMBERS, FREE])
@given(a=floats, b=floats)
def test_a_profile_of_two_parts_is_the_merge_of_their_profiles_in_any_order(spec, a, b):
    whole = counted(spec, np.concatenate([a, b]))
    parts = counted(spec, a), counted(spec, b)
    assert (
        exact(whole)
        == exact(parts[0].merge(parts[1]))
        == exact(parts[1].merge(parts[0]))
        == exact(counted(spec, b, a))
    )


@pytest.mark.parametrize("spec", [WORDS, FREE_WORDS])
@given(a=words, b=words)
def test_texts_merge_like_numbers(spec, a, b):
    a, b = pa.array(a, pa.string()), pa.array(b, pa.string())
    whole = counted(spec, pa.concat_arrays([a, b]))
    assert exact(whole) == exact(counted(spec, a).merge(counted(spec, b))) == exact(counted(spec, b, a))


@pytest.mark.parametrize("spec", [NUMBERS, FREE])
@given(values=floats, nulls=st.integers(0, 5))
def test_every_number_is_counted_once(spec, values, nulls):
    state = counted(spec, values, pa.nulls(nulls, pa.float64()))
    infinities = state.negative_infinities + state.positive_infinities
    assert state.count == len(values) + nulls == state.nulls + state.nans + infinities + state.bins.sum()
    assert state.nans == np.isnan(values).sum()
    assert state.zeros == (values == 0).sum()
    assert infinities == np.isinf(values).sum()
    assert state.distinct == len(set(values[~np.isnan(values)].tolist()))


@given(values=words)
def test_every_text_is_counted_once(values):
    state = counted(WORDS, pa.array(values, pa.string()))
    present = [v for v in values if v is not None]
    assert state.count == len(values) == state.nulls + state.bins.sum()
    assert state.bins.tolist()[:3] == [present.count(c) for c in ("a", "b", "ünïcode")]
    assert state.distinct == len(set(present))
    assert dict(state.frequent) == {v: present.count(v) for v in present}
    assert state.sum_length == sum(map(len, present))


@pytest.mark.parametrize("spec", [NUMBERS, FREE, WORDS, FREE_WORDS])
@given(numbers=floats, texts=words)
def test_a_profile_survives_its_bytes(spec, numbers, texts):
    batch = numbers if spec.is_numeric else pa.array(texts, pa.string())
    profile = TableProfile({spec.name: counted(spec, batch)})
    again = TableProfile.from_bytes(profile.to_bytes())
    assert again.specs == profile.specs
    assert again.to_dict() == profile.to_dict()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 3000), max_size=5))
def test_many_distinct_numbers_merge_exactly_whatever_the_partitioning(seed, cuts):
    values = np.random.default_rng(seed).lognormal(0, 3, 3000) - 1
    parts = [counted(FREE, part) for part in np.split(values, sorted(cuts))]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert exact(merged) == exact(counted(FREE, values))
    assert len(merged.rungs) <= RUNGS
    assert merged.mean == pytest.approx(values.mean(), rel=1e-12)
    assert merged.stddev == pytest.approx(values.std(ddof=1), rel=1e-12)


def test_merging_changes_neither_side():
    a, b = counted(NUMBERS, np.array([1.0])), counted(NUMBERS, np.array([5.0, np.nan]))
    before = copy.deepcopy((exact(a), exact(b)))
    merged = a.merge(b)
    merged.update(np.array([7.0]))
    one_sided = TableProfile({"x": a}).merge(TableProfile({}))
    one_sided.merge(one_sided)
    assert (exact(a), exact(b)) == before


def test_bins_count_the_values_at_or_below_each_edge():
    state = counted(NUMBERS, np.array([-2.0, -1.5, -1.0, -0.5, -0.0, 2.0, 2.1, 1e7]))
    assert state.bins.tolist() == [2, 1, 2, 1, 1, 1]


def test_integers_keep_their_last_digit():
    spec = free_spec("id", "long")
    assert spec is not None
    values = np.array([2**63 - 1, 2**53 + 1, -(2**63)])
    state = counted(spec, values)
    assert (state.minimum, state.maximum, state.distinct) == (-(2**63), 2**63 - 1, 3)
    assert counted(spec, np.array([2**53, 2**53 + 1])).distinct == 2


@pytest.mark.parametrize(
    ("spec", "batch", "expected"),
    [
        pytest.param(FREE, pa.array([1.0, None, float("nan")]), (3, 1, 1), id="arrow nulls and NaN"),
        pytest.param(FREE, np.array([1, 2], np.float32), (2, 0, 0), id="float32"),
        pytest.param(FREE, pa.array([True, None]), (2, 1, 0), id="booleans as numbers"),
        pytest.param(FREE, np.array(["1.5", None], object), (2, 1, 0), id="numbers in text"),
        pytest.param(
            replace(FREE, data_type="long"), np.array([1.0, np.nan]), (2, 1, 0), id="pandas' integer null"
        ),
        pytest.param(FREE, pa.chunked_array([[1.0], [None]]), (2, 1, 0), id="chunks"),
        pytest.param(FREE_WORDS, pa.array(["a", None]).dictionary_encode(), (2, 1, 0), id="dictionary"),
        pytest.param(FREE_WORDS, np.array(["a", 1, None], object), (3, 1, 0), id="objects of several types"),
        pytest.param(FREE_WORDS, np.array([1.0, np.nan]), (2, 1, 0), id="labels as doubles"),
        pytest.param(
            replace(FREE, kind="datetime"), np.array(["2026-01-01", "NaT"], "M8[ns]"), (2, 1, 0), id="times"
        ),
    ],
)
def test_values_of_many_types_are_read(spec, batch, expected):
    state = counted(spec, batch)
    assert (state.count, state.nulls, state.nans) == expected


def test_a_mask_says_which_numpy_values_are_null():
    state = ColumnState.empty(FREE)
    state.update(np.array([1.0, 2.0, 3.0]), mask=np.array([False, True, False]))
    assert (state.count, state.nulls, state.mean) == (3, 1, 2.0)


def test_a_label_is_the_same_text_whether_integer_or_double():
    assert (
        counted(FREE_WORDS, np.array([1, 2])).frequent == counted(FREE_WORDS, np.array([1.0, 2.0])).frequent
    )


def test_times_count_as_seconds_in_utc():
    spec = free_spec("t", "timestamp")
    assert spec is not None
    assert counted(spec, pa.array([0, 1_500_000], pa.timestamp("us", "Europe/Berlin"))).maximum == 1.5


def test_text_in_a_numeric_column_is_a_contract_error_that_names_the_column():
    with pytest.raises(ConfigInvalid, match=r"Column 'x' is numeric \(double\).*batch holds string"):
        counted(FREE, pa.array(["not a number"]))


def test_profiles_on_different_bins_do_not_merge():
    with pytest.raises(ConfigInvalid, match="different bins"):
        counted(NUMBERS, np.zeros(1)).merge(counted(FREE, np.zeros(1)))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.arange(200_000), id="consecutive integers"),
        pytest.param(np.arange(200_000) / 100, id="hundredths"),
        pytest.param(np.arange(200_000) * 4096.0, id="round doubles"),
        pytest.param(np.array([f"customer-{i:07d}" for i in range(200_000)]), id="numbered texts"),
    ],
)
def test_distinct_values_are_estimated_within_four_standard_errors(values):
    spec = (
        FREE_WORDS
        if values.dtype.kind == "U"
        else free_spec("x", "long" if values.dtype.kind == "i" else "double")
    )
    assert spec is not None
    state = counted(spec, *np.split(values, 20), values)
    assert state.distinct == pytest.approx(200_000, rel=4 / np.sqrt(HASHES - 2))


def test_frequent_values_survive_a_flood_of_rare_ones():
    rng = np.random.default_rng(5)
    values = np.array([f"id{i}" for i in range(40_000)] + ["often"] * 4_000 + ["seldom"] * 1_000)
    rng.shuffle(values)
    state = counted(FREE_WORDS, *np.array_split(values, 9))
    (first, n), (second, m) = state.frequent[:2]
    assert (first, second) == ("often", "seldom")
    assert n <= 4_000 <= n + state.undercount
    assert m <= 1_000 <= m + state.undercount
    assert len(state.tracked) <= TRACKED[False]


def test_a_long_text_is_counted_and_never_named():
    state = counted(FREE_WORDS, pa.array(["x" * 10_000, "short"]))
    assert state.frequent == [("short", 1)]
    assert (state.finite, state.max_length) == (2, 10_000)


def test_a_baseline_holds_features_predictions_and_probabilities():
    frame = pd.DataFrame({"age": [1, 2], "city": ["a", None], "ok": [True, False], "raw": [[1], [2]]})
    profile = of_frame(
        frame, pd.DataFrame({"prediction": [0, 1], "no": [0.9, 0.2], "probability_yes": [0.1, 0.8]})
    )
    assert [(s.name, s.kind, s.data_type) for s in profile.specs] == [
        ("age", "numeric", "long"),
        ("city", "categorical", "string"),
        ("ok", "boolean", "boolean"),
        ("prediction", "numeric", "long"),
        ("probability_no", "numeric", "double"),
        ("probability_yes", "numeric", "double"),
    ]
    assert all(s.frozen for s in profile.specs)
    assert profile.rows == 2


@pytest.mark.parametrize(
    ("predictions", "names"),
    [
        (np.array([1, 2]), ["prediction"]),
        (pd.Series([1, 2]), ["prediction"]),
        (np.array([[0.1, 0.9], [0.5, 0.5]]), ["probability_0", "probability_1"]),
    ],
)
def test_predictions_are_named_by_their_shape(predictions, names):
    assert list(of_frame(pd.DataFrame({"a": [1, 2]}), predictions).columns)[1:] == names


def test_missing_values_of_pandas_are_nulls_in_a_baseline():
    state = of_frame(pd.DataFrame({"a": [1.0, np.nan]})).columns["a"]
    assert (state.nulls, state.nans) == (1, 0)


@pytest.mark.parametrize("n", [10, 200, 5_000])
def test_edges_are_reference_values_in_order_with_one_below_the_smallest(n):
    values = np.random.default_rng(n).normal(size=n)
    spec = of_frame(pd.DataFrame({"a": values})).specs[0]
    assert spec.edges is not None
    assert len(spec.edges) <= EDGES + 1
    assert np.all(np.diff(spec.edges) > 0)
    assert set(spec.edges[1:]) <= set(values)
    assert spec.edges[0] == np.nextafter(values.min(), -np.inf)
    assert spec.edges[-1] == values.max()
    assert spec.discrete == (n <= EDGES)


def test_a_column_without_values_gets_a_bin_all_the_same():
    profile = of_frame(pd.DataFrame({"a": [np.nan, np.nan], "b": [None, None]}))
    assert [(s.count, s.nulls, s.spec.edges) for s in profile.columns.values()] == [(2, 2, (0.0,))] * 2


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="empty"),
        pytest.param({"format": FORMAT, "format_version": 99, "columns": []}, id="later version"),
        pytest.param({"format": FORMAT, "format_version": 1, "columns": [{"spec": {}}]}, id="damaged"),
        pytest.param([1], id="a list"),
    ],
)
def test_what_is_no_baseline_is_refused(data):
    with pytest.raises(ConfigInvalid, match="column profile"):
        load_baseline(data)


@pytest.mark.parametrize("data", [b"", b"junk", pytest.param(TableProfile({}).to_bytes()[:-5], id="cut off")])
def test_bytes_that_are_no_profile_are_refused(data):
    with pytest.raises(ConfigInvalid, match="no column profile"):
        TableProfile.from_bytes(data)


def test_a_baseline_needs_rows():
    with pytest.raises(ConfigInvalid, match="needs rows"):
        baseline_from_pandas(pd.DataFrame({"a": []}))


@pytest.mark.parametrize("scale", [1, 1e-3, 1e9])
@pytest.mark.parametrize("shift", [0, 1e6])
def test_freezing_keeps_every_count(scale, shift):
    values = np.random.default_rng(7).normal(size=20_000) * scale + shift
    profile = TableProfile({"x": counted(FREE, values)})
    frozen = freeze(profile).columns["x"]
    again = counted(frozen.spec, values)
    assert len(frozen.bins) > 100
    assert frozen.bins.tolist() == again.bins.tolist()
    assert freeze(freeze(profile)).to_dict() == freeze(profile).to_dict()


def test_freezing_few_values_keeps_them_all():
    state = freeze(TableProfile({"x": counted(FREE, np.array([3, 1, 1, -0.0]))})).columns["x"]
    assert state.spec.edges == (np.nextafter(0, -1), 0.0, 1.0, 3.0)
    assert (state.spec.discrete, state.bins.tolist()) == (True, [0, 1, 2, 1, 0])


def test_freezing_texts_keeps_the_most_frequent():
    names = [f"n{i:03d}" for i in range(300)]
    state = freeze(TableProfile({"w": counted(FREE_WORDS, pa.array(names + names[250:]))})).columns["w"]
    assert state.spec.categories is not None
    assert set(names[250:]) <= set(state.spec.categories)
    assert (len(state.spec.categories), state.finite, state.bins[-1]) == (CATEGORIES, 350, 100)


@pytest.mark.parametrize("spec", ["frozen", "free"])
def test_quantiles_are_within_a_bin_of_the_truth(spec):
    values = np.random.default_rng(3).lognormal(size=30_000)
    profile = TableProfile({"x": counted(FREE, values)})
    state = (of_frame(pd.DataFrame({"x": values})) if spec == "frozen" else profile).columns["x"]
    levels = np.array([0, 0.01, 0.25, 0.5, 0.9, 1])
    found = np.array(quantiles(state, levels))
    ranks = np.searchsorted(np.sort(values), found, "right") / len(values)
    largest_bin = state.bins.max() / len(values)
    assert np.all(np.abs(ranks - levels) <= largest_bin)
    assert found[[0, -1]].tolist() == [values.min(), values.max()]


def test_quantiles_of_few_values_are_values():
    assert quantiles(counted(FREE, np.array([1.0, 2.0, 2.0, 9.0])), [0, 0.25, 0.26, 0.75, 0.76, 1]) == [
        1,
        1,
        2,
        2,
        9,
        9,
    ]


def test_columns_come_in_several_calls_and_unknown_ones_are_passed_over():
    profile = TableProfile.empty([NUMBERS, WORDS])
    profile.update({"x": np.zeros(3), "unknown": np.zeros(3)})
    profile.update({"w": pa.array(["a"] * 3)})
    assert {name: s.count for name, s in profile.columns.items()} == {"x": 3, "w": 3}
    assert profile.rows == 3


def test_a_state_of_twenty_columns_is_compact():
    rng = np.random.default_rng(1)
    base = of_frame(pd.DataFrame(rng.normal(size=(5_000, 20)), columns=[f"c{i}" for i in range(20)]))
    window = TableProfile.empty(base.specs)
    for _ in range(5):
        window.update({f"c{i}": rng.normal(size=10_000) for i in range(20)})
    assert len(window.to_bytes()) < 20 * 9_000


@pytest.mark.parametrize("data_type", ["binary", "array<double>", "time64[us]"])
def test_types_that_are_not_profiled_have_no_spec(data_type):
    assert free_spec("x", data_type) is None


REGIONS = st.sampled_from(["north", "south", None])
SLICED = st.lists(st.tuples(st.floats(-1e6, 1e6) | st.none(), REGIONS), max_size=40)


def sliced(rows: list[tuple[float | None, str | None]], spec: ColumnSpec = NUMBERS) -> TableProfile:
    profile = TableProfile.empty([spec])
    by = {"region": pa.array([region for _, region in rows], pa.string())}
    profile.update({"x": pa.array([x for x, _ in rows], pa.float64())}, by)
    return profile


@pytest.mark.parametrize("spec", [NUMBERS, FREE])
@settings(deadline=None, max_examples=50)
@given(a=SLICED, b=SLICED)
def test_slices_merge_like_tables_and_add_up_to_them(spec, a, b):
    whole, merged = sliced(a + b, spec), sliced(a, spec).merge(sliced(b, spec))
    assert {k: exact(v["x"]) for k, v in whole.slices.parts.items()} == {
        k: exact(v["x"]) for k, v in merged.slices.parts.items()
    }
    assert sum(part["x"].count for part in whole.slices.parts.values()) == whole.rows
    assert {value for _, value in whole.slices.parts} == {region for _, region in a + b}


@settings(deadline=None)
@given(rows=SLICED)
def test_a_slice_is_the_profile_of_its_rows(rows):
    profile = sliced(rows)
    for (_, value), part in profile.slices.parts.items():
        assert exact(part["x"]) == exact(sliced([r for r in rows if r[1] == value]).columns["x"])


@settings(deadline=None)
@given(rows=SLICED.filter(lambda rows: any(x is not None for x, _ in rows)))
def test_freezing_counts_the_slices_on_the_bins_of_the_whole(rows):
    frozen = freeze(sliced(rows, FREE))
    again = sliced(rows, frozen.columns["x"].spec)
    for key, part in frozen.slices.parts.items():
        assert part["x"].bins.tolist() == again.slices.parts[key]["x"].bins.tolist()


def test_freezing_counts_slices_exactly_where_rungs_were_merged():
    rng = np.random.default_rng(0)
    values, by = rng.lognormal(0, 3, 5_000), pa.array(rng.choice(["a", "b"], 5_000))
    free = TableProfile.empty([FREE])
    free.update({"x": values}, {"region": by})
    frozen = freeze(free)
    again = TableProfile.empty(frozen.specs)
    again.update({"x": values}, {"region": by})
    for key, part in frozen.slices.parts.items():
        assert part["x"].bins.tolist() == again.slices.parts[key]["x"].bins.tolist()


def test_categories_of_a_slice_are_counted_on_those_of_the_whole():
    free = TableProfile.empty([FREE_WORDS])
    free.update({"w": pa.array(["a", "b", "a", None])}, {"big": pa.array([True, True, False, False])})
    frozen = freeze(free)
    bins = {value: part["w"].bins.tolist() for (_, value), part in frozen.slices.parts.items()}
    assert (frozen.columns["w"].spec.categories, bins) == (
        ("a", "b"),
        {"true": [1, 1, 0], "false": [1, 0, 0]},
    )


@pytest.mark.parametrize("parts", [1, 4])
def test_an_expression_with_too_many_values_is_given_up_however_they_arrive(parts):
    keys = [str(i) for i in range(VALUES + 1)]
    merged = sliced([])
    for part in np.array_split(np.array(keys), parts):
        merged = merged.merge(sliced([(1.0, str(key)) for key in part]))
    assert (merged.slices.parts, merged.slices.given_up) == ({}, {"region"})
    assert merged.merge(sliced([(1.0, "north")])).slices.parts == {}
    assert merged.rows == VALUES + 1


def test_slices_and_facts_survive_their_bytes_and_old_profiles_have_none():
    profile = sliced([(1.0, "north"), (None, None)])
    profile.facts = TableFacts(5, 3, {"x": "double"}, {"x_between": 3})
    again = TableProfile.from_bytes(profile.to_bytes())
    assert (again.to_dict(), again.facts) == (profile.to_dict(), profile.facts)
    assert again.slices.parts.keys() == profile.slices.parts.keys()
    old = {k: v for k, v in profile.to_dict().items() if k not in ("slices", "given_up", "facts")}
    assert (load_baseline(old).slices.parts, load_baseline(old).facts) == ({}, None)


def test_a_baseline_knows_the_slices_it_was_given():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "region": ["a", "b", None]})
    by = {"region": frame["region"], "x > 1": frame["x"] > 1}
    profile = load_baseline(json.loads(json.dumps(baseline_from_pandas(frame, np.ones(3), slices=by))))
    counts = {part: columns["prediction"].count for part, columns in profile.slices.parts.items()}
    assert counts == {
        ("region", "a"): 1,
        ("region", "b"): 1,
        ("region", None): 1,
        ("x > 1", "false"): 1,
        ("x > 1", "true"): 2,
    }


def test_facts_of_two_windows_add_up():
    a = TableFacts(5, 1, {"x": "int"}, {"r": 1})
    b = TableFacts(7, 2, {"x": "double", "y": "string"}, {"r": 1, "s": 1})
    assert a.merge(b) == TableFacts(12, 3, {"x": "double", "y": "string"}, {"r": 2, "s": 1})
