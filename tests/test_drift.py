"""Drift: the statistics are SciPy's, the verdicts hold still without drift and move with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from pipelines import drift
from pipelines.drift import Thresholds, compare, distributions
from pipelines.drift.distances import js_divergences
from pipelines.drift.noise import Noise, js_noise, wasserstein_noise
from pipelines.drift.verdicts import Judged
from pipelines.drift.whole import table_verdict
from pipelines.errors import ConfigInvalid
from pipelines.profiles import (
    ColumnSpec,
    TableFacts,
    TableProfile,
    baseline_from_pandas,
    freeze,
    load_baseline,
)
from pipelines.records import DriftFinding

LOOSE = {"rel": 1e-9, "abs": 1e-12}


def baseline(**columns: Any) -> TableProfile:
    return load_baseline(baseline_from_pandas(pd.DataFrame(columns)))


def window(reference: TableProfile, **columns: Any) -> TableProfile:
    profile = TableProfile.empty(reference.specs)
    profile.update(
        {
            name: values if isinstance(values, pa.Array) else np.asarray(values)
            for name, values in columns.items()
        }
    )
    return profile


def finding(reference: Any, current: Any, thresholds: Thresholds | None = None) -> DriftFinding:
    base = baseline(x=reference)
    return compare(base, window(base, x=current), thresholds)[1]


def discrete_pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(11)
    return [
        (rng.poisson(4, 900), rng.poisson(5, 700).clip(0, 8)),
        (rng.integers(0, 2, 300), rng.integers(0, 2, 4_000)),
        (rng.choice([-2.5, 0.0, 1e3], 500), rng.choice([-2.5, 0.0, 1e3], 200, p=[0.7, 0.2, 0.1])),
        (np.repeat(np.arange(200), 5), np.arange(100)),
    ]


@pytest.mark.parametrize(("ref", "cur"), discrete_pairs())
def test_statistics_of_discrete_numbers_are_those_of_scipy(ref, cur):
    cur = cur[np.isin(cur, ref)]
    found = finding(ref, cur)
    ks = stats.ks_2samp(ref, cur, method="asymp")
    assert found.error_bound == 0
    assert found.wasserstein_distance == pytest.approx(
        stats.wasserstein_distance(ref, cur) / ref.std(ddof=1), **LOOSE
    )
    assert found.ks_statistic == pytest.approx(ks.statistic, **LOOSE)
    assert found.ks_pvalue == pytest.approx(
        stats.kstwobign.sf(ks.statistic * np.sqrt(len(ref) * len(cur) / (len(ref) + len(cur)))), **LOOSE
    )
    assert found.avg_delta == pytest.approx(cur.mean() - ref.mean(), **LOOSE)


@pytest.mark.parametrize(("ref", "cur"), discrete_pairs()[:3])
def test_js_distance_of_few_values_is_scipys_in_base_2(ref, cur):
    values = np.unique(ref)
    cur = cur[np.isin(cur, ref)]
    p, q = ([(side == v).sum() for v in values] for side in (ref, cur))
    assert finding(ref, cur).js_distance == pytest.approx(jensenshannon(p, q, base=2), **LOOSE)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1).filter(
        lambda c: all(map(any, zip(*c, strict=True)))
    )
)
def test_js_distance_is_scipys_symmetric_and_between_0_and_1(counts):
    p, q = np.array(counts).T
    found = drift.js_distance(p, q)
    assert found == pytest.approx(jensenshannon(p, q, base=2), rel=1e-6, abs=1e-7)
    assert found == drift.js_distance(q, p)
    assert 0 <= found <= 1 + 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_statistics_of_categories_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    names = np.array(list("abcdef"))
    ref, cur = rng.choice(names, 600), rng.choice(names, 400, p=[0.3, 0.3, 0.1, 0.1, 0.1, 0.1])
    p, q = ([(side == v).sum() for v in names] for side in (ref, cur))
    found = finding(ref, cur)
    chi = stats.chi2_contingency([p, q], correction=False)
    shares = np.array(p) / 600 - np.array(q) / 400
    assert found.chi_squared_statistic == pytest.approx(chi.statistic, **LOOSE)
    assert found.chi_squared_pvalue == pytest.approx(chi.pvalue, **LOOSE)
    assert found.js_distance == pytest.approx(jensenshannon(p, q, base=2), **LOOSE)
    assert found.tv_distance == pytest.approx(np.abs(shares).sum() / 2, **LOOSE)
    assert found.l_infinity_distance == pytest.approx(np.abs(shares).max(), **LOOSE)


CONTINUOUS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "t with 3 degrees": lambda rng, n: rng.standard_t(3, n),
    "large offset": lambda rng, n: 1e9 + rng.normal(size=n),
}


@pytest.mark.parametrize("shift", [0.0, 0.3, 4.0])
@pytest.mark.parametrize("draw", CONTINUOUS.values(), ids=CONTINUOUS)
def test_statistics_of_continuous_numbers_are_scipys_within_the_stated_bound(draw, shift):
    rng = np.random.default_rng(2)
    ref, cur = draw(rng, 5_000), draw(rng, 3_000) + shift
    base = baseline(x=ref)
    states = base.columns["x"], window(base, x=cur).columns["x"]
    ks, area = drift.kolmogorov_smirnov(*states), drift.wasserstein(*states)
    assert -1e-12 <= stats.ks_2samp(ref, cur).statistic - ks.value <= ks.bound + 1e-12
    assert abs(stats.wasserstein_distance(ref, cur) - area.value) <= area.bound
    assert ks.bound < 0.02
    assert area.bound < 0.15 * ref.std()


def mixed_columns(seed: int, n: int, shift: float = 0.0) -> dict[str, Any]:
    """Twenty columns of many shapes; ``shift`` is in standard deviations of ``n0``."""
    rng = np.random.default_rng([seed, n])
    numbers: dict[str, Any] = {f"n{i}": rng.normal(size=n) for i in range(9)}
    numbers["n0"] = numbers["n0"] + shift
    return numbers | {
        "lognormal": rng.lognormal(size=n),
        "heavy": rng.standard_t(2, n),
        "uniform": rng.random(n),
        "counts": rng.poisson(3, n),
        "mostly zero": np.where(rng.random(n) < 0.9, 0.0, rng.normal(size=n)),
        "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        "offset": 1e9 + rng.normal(size=n),
        "flag": rng.random(n) < 0.02,
        "kind": rng.choice(list("abcdef"), n),
        "rare": rng.choice(list("xyz"), n, p=[0.98, 0.015, 0.005]),
        "names": np.char.add("v", np.minimum(rng.zipf(1.5, n), 500).astype(str)),
    }


@pytest.mark.parametrize(
    ("n_ref", "n_cur", "trials"),
    [(200, 200, 40), (5_000, 500, 20), (2_000, 10_000, 10), (20_000, 100_000, 2)],
)
def test_resamples_without_drift_raise_at_most_five_percent_false_alarms_per_table(n_ref, n_cur, trials):
    alarms = 0
    for seed in range(trials):
        base = baseline(**mixed_columns(seed, n_ref))
        found = compare(base, window(base, **mixed_columns(seed + 1_000, n_cur)))
        alarms += any(f.verdict == "drift" for f in found)
    assert alarms <= 0.05 * trials


@pytest.mark.parametrize(
    ("n_ref", "n_cur"), [(500, 500), (10_000, 500), (500, 20_000), (2_000, 2_000), (50_000, 50_000)]
)
def test_a_shift_of_one_standard_deviation_is_flagged_and_the_other_columns_are_not(n_ref, n_cur):
    base = baseline(**mixed_columns(1, n_ref))
    found = compare(base, window(base, **mixed_columns(2, n_cur, shift=1.0)))
    assert [f.column_name for f in found if f.verdict == "drift"] == ["n0"]


@pytest.mark.parametrize("n", [2_000, 20_000, 200_000])
@pytest.mark.parametrize(("shift", "verdict"), [(0.05, "ok"), (0.5, "drift")])
def test_the_verdict_on_a_shift_is_the_same_at_every_size(n, shift, verdict):
    rng = np.random.default_rng(n)
    assert finding(rng.normal(size=n), rng.normal(size=n) + shift).verdict == verdict


@pytest.mark.parametrize(("n_ref", "n_cur"), [(50, 50), (10_000, 50), (50, 10_000), (300, 300)])
def test_few_rows_without_drift_are_insufficient_data(n_ref, n_cur):
    rng = np.random.default_rng(4)
    assert finding(rng.normal(size=n_ref), rng.normal(size=n_cur)).verdict == "insufficient_data"


def test_eight_rows_are_enough_when_nothing_is_as_it_was():
    assert finding(np.random.default_rng(0).normal(size=5_000), np.full(8, 50.0)).verdict == "drift"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6) | st.none() | st.just(float("inf")), min_size=1, max_size=40))
def test_a_column_does_not_drift_from_itself(values):
    base = load_baseline(
        baseline_from_pandas(pd.DataFrame({"x": pd.array(values, "Float64"), "w": [str(v) for v in values]}))
    )
    for found in compare(base, base):
        distances = (
            found.js_distance,
            found.wasserstein_distance,
            found.population_stability_index,
            found.ks_statistic,
        )
        assert all(d in (0, None) for d in distances)
        assert all(d in (0, None) for d in (found.avg_delta, found.percent_null_delta, found.tv_distance))
        assert found.verdict != "drift"


@pytest.mark.parametrize(
    "current",
    [
        pytest.param([None] * 3_000, id="all missing"),
        pytest.param([1e9] * 3_000, id="above everything"),
        pytest.param([-1e9] * 3_000, id="below everything"),
        pytest.param([float("inf")] * 3_000, id="infinite"),
        pytest.param([float("nan")] * 3_000, id="not a number"),
        pytest.param([0.0] * 3_000, id="constant"),
        pytest.param([1.0, None] * 1_500, id="half missing"),
    ],
)
def test_gross_changes_of_numbers_drift(current):
    base = baseline(x=np.random.default_rng(0).normal(size=3_000))
    found = compare(base, window(base, x=pa.array(current, pa.float64())))[1]
    assert found.verdict == "drift"


def test_the_largest_doubles_overflow_no_verdict():
    rng = np.random.default_rng(0)
    found = finding(rng.choice([-1e308, 1e308], 2_000) * rng.random(2_000), rng.random(2_000))
    assert (found.verdict, found.wasserstein_distance) == ("drift", None)


@pytest.mark.parametrize(
    ("value", "expected", "quantile", "drifts", "can_judge"),
    [(1e200, 0.1, 0.12, True, True), (1e200, 1e199, 2e199, True, False), (0.5, 1e200, 2e200, False, False)],
)
def test_distances_whose_squares_are_no_doubles_are_judged(value, expected, quantile, drifts, can_judge):
    judged = Judged("wasserstein_distance", value, 0.1, Noise(expected, quantile))
    assert (judged.drifts, judged.can_judge) == (drifts, can_judge)
    assert 0 <= judged.excess <= value


def test_a_single_far_value_is_no_drift():
    rng = np.random.default_rng(0)
    found = finding(rng.normal(size=5_000), np.append(rng.normal(size=4_999), 1e6))
    assert (found.verdict, found.statistic) == ("ok", "wasserstein_distance")
    assert found.wasserstein_distance > 100


def test_a_constant_reference_is_judged_without_its_zero_deviation():
    same, other = finding(np.ones(2_000), np.ones(2_000)), finding(np.ones(2_000), np.full(2_000, 1.01))
    assert (same.verdict, same.wasserstein_distance) == ("ok", 0.0)
    assert (other.verdict, other.wasserstein_distance, other.statistic) == ("drift", None, "js_distance")


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "ok"), (0.1, "drift")])
def test_an_unseen_category_has_a_bin_of_its_own(share, verdict):
    rng = np.random.default_rng(0)
    current = np.where(rng.random(5_000) < share, "new", rng.choice(list("ab"), 5_000))
    assert finding(rng.choice(list("ab"), 5_000), current).verdict == verdict


def test_rare_reference_categories_share_a_cell_with_unseen_ones():
    reference = ["a"] * 5_000 + [f"once-{i}" for i in range(150)]
    current = ["a"] * 5_000 + [f"other-{i}" for i in range(150)]
    found = finding(reference, current)
    assert (found.js_distance, found.verdict) == (0.0, "ok")


def test_thresholds_of_a_column_override_those_of_the_table():
    rng = np.random.default_rng(0)
    ref, cur = rng.normal(size=5_000), rng.normal(size=5_000) + 0.5
    own = Thresholds(columns={"x": {"js_distance": 0.9, "wasserstein": 2.0}})
    assert [finding(ref, cur, t).verdict for t in (None, own)] == ["drift", "ok"]
    half = finding(ref, cur, Thresholds(columns={"x": {"wasserstein": 2.0}}))
    assert (half.verdict, half.statistic, half.threshold) == ("drift", "js_distance", 0.1)


@pytest.mark.parametrize(
    ("drifting", "share", "verdict"),
    [(0, 0.5, "ok"), (1, 0.5, "ok"), (2, 0.5, "drift"), (1, 0.25, "drift"), (0, 0.0, "ok")],
)
def test_the_table_drifts_with_its_share_of_drifting_columns(drifting, share, verdict):
    rng = np.random.default_rng(0)
    base = baseline(**{f"c{i}": rng.normal(size=3_000) for i in range(4)})
    current = window(base, **{f"c{i}": rng.normal(size=3_000) + (i < drifting) for i in range(4)})
    table, *columns = compare(base, current, Thresholds(dataset_share=share))
    assert (table.column_name, table.verdict) == (drift.TABLE, verdict)
    assert [f.verdict for f in columns] == ["drift"] * drifting + ["ok"] * (4 - drifting)


@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        (["drift", "ok", "ok", "ok"], "ok"),
        (["drift", "drift", "ok", "insufficient_data"], "drift"),
        (["drift", "insufficient_data", "insufficient_data", "insufficient_data"], "insufficient_data"),
        (["ok", "ok", "ok", "insufficient_data"], "ok"),
        (["insufficient_data"], "insufficient_data"),
        ([], "insufficient_data"),
    ],
)
def test_columns_that_could_not_be_judged_never_tip_the_table(columns, verdict):
    assert table_verdict(columns, 0.5) == verdict


def test_columns_that_went_or_came_are_told_and_not_judged():
    base = baseline(a=np.arange(1_000), gone=np.arange(1_000))
    current = TableProfile.empty([*base.specs, ColumnSpec("new", "numeric", "double")])
    current.update({"a": np.arange(1_000), "new": np.arange(1_000.0)})
    table, *columns = compare(base, current, drift_type="CONSECUTIVE")
    assert {f.column_name: f.verdict for f in columns} == {
        "a": "ok",
        "gone": "insufficient_data",
        "new": "insufficient_data",
    }
    assert (table.non_null_columns_added, table.non_null_columns_missing, table.drift_type) == (
        1,
        1,
        "CONSECUTIVE",
    )


def test_deltas_are_window_minus_reference_in_percent():
    found = finding([0.0, 1.0, 2.0, None], [0.0, 0.0, 5.0, 5.0])
    deltas = (
        found.count_delta,
        found.percent_null_delta,
        found.percent_zeros_delta,
        found.percent_distinct_delta,
    )
    assert deltas == (0, -25.0, 25.0, -25.0)
    assert found.avg_delta == 1.5


def test_profiles_on_different_bins_are_not_compared():
    base, other = baseline(x=[1.0, 2.0]), baseline(x=[1.0, 3.0])
    with pytest.raises(ConfigInvalid, match="Column 'x' was counted on different bins"):
        compare(base, other)


def test_a_free_window_serves_as_the_next_reference():
    rng = np.random.default_rng(0)
    first = TableProfile.empty([ColumnSpec("x", "numeric", "double")])
    first.update({"x": rng.normal(size=20_000)})
    frozen = freeze(first)
    verdicts = [
        compare(frozen, window(frozen, x=rng.normal(size=20_000) + s), None, "CONSECUTIVE")[1].verdict
        for s in (0, 0.5)
    ]
    assert verdicts == ["ok", "drift"]


def test_the_noise_of_the_wasserstein_distance_is_that_of_resamples():
    rng = np.random.default_rng(0)
    base = baseline(x=rng.normal(size=1_000))
    noises = [wasserstein_noise(base.columns["x"], window(base, x=rng.normal(size=1_000)).columns["x"], 0.05)]
    distances = [stats.wasserstein_distance(*rng.normal(size=(2, 1_000))) for _ in range(300)]
    assert noises[0].expected == pytest.approx(np.mean(distances), rel=0.1)
    assert noises[0].quantile == pytest.approx(np.quantile(distances, 0.95), rel=0.15)


@pytest.mark.parametrize(
    "values", [np.arange(5), np.random.default_rng(0).lognormal(size=3_000), np.full(9, np.nan)]
)
def test_distributions_of_numbers_have_at_most_twenty_bins_and_add_up(values):
    base = baseline(x=values)
    [shown] = distributions(
        base, window(base, x=np.append(values[: len(values) // 2], [np.nan, 1e9, np.inf]))
    )
    assert len(shown.labels) == len(shown.baseline) == len(shown.current) <= 21
    assert len(set(shown.labels)) == len(shown.labels)
    assert sum(shown.baseline) == pytest.approx(1)
    assert sum(shown.current) == pytest.approx(1)
    assert shown.labels[-1] == "null"
    assert shown.current[-2] > 0


def test_distributions_of_categories_end_in_other_and_null():
    base = baseline(x=[f"c{i:02d}" for i in range(20) for _ in range(20 - i)])
    [shown] = distributions(base, window(base, x=pa.array(["c00", "new", None, None])))
    assert shown.labels == (*(f"c{i:02d}" for i in range(12)), "other", "null")
    assert shown.current == (0.25, *[0.0] * 11, 0.25, 0.5)
    assert sum(shown.baseline) == pytest.approx(1)


def test_an_empty_window_shows_no_shares_and_has_no_verdict():
    base = baseline(x=[1.0, 2.0], w=["a", "b"])
    empty = window(base)
    assert [f.verdict for f in compare(base, empty)] == ["insufficient_data"] * 3
    assert all(set(d.current) == {0.0} for d in distributions(base, empty))


def test_times_are_labelled_as_times():
    base = baseline(x=pd.date_range("2026-01-01", periods=3_000, freq="h"))
    [shown] = distributions(base, base)
    assert shown.labels[-2].startswith("> 2026-")


def sliced(reference: TableProfile, values: Any, by: Any) -> TableProfile:
    profile = TableProfile.empty(reference.specs)
    profile.update({"x": np.asarray(values)}, {"region": pa.array(by)})
    return profile


def sliced_baseline(values: Any, by: Any) -> TableProfile:
    frame = pd.DataFrame({"x": values})
    return load_baseline(baseline_from_pandas(frame, slices={"region": by}))


def test_a_drift_in_one_slice_is_found_there_and_does_not_tip_the_table():
    rng = np.random.default_rng(0)
    by = np.where(rng.random(60_000) < 0.05, "south", "north")
    base = sliced_baseline(rng.normal(size=60_000), by)
    moved = rng.normal(size=60_000) + (by == "south")
    found = compare(base, sliced(base, moved, by))
    verdicts = {(f.slice_value, f.column_name): f.verdict for f in found}
    assert verdicts == {
        (None, ":table"): "ok",
        (None, "x"): "ok",
        ("north", ":table"): "ok",
        ("north", "x"): "ok",
        ("south", ":table"): "drift",
        ("south", "x"): "drift",
    }


def test_a_slice_without_a_reference_is_told_and_not_judged():
    base = sliced_baseline(np.arange(3_000), np.repeat("north", 3_000))
    found = compare(base, sliced(base, np.arange(3_000), np.repeat("west", 3_000)))
    parts = {f.slice_value: (f.n_ref, f.n_cur, f.verdict) for f in found[2:] if f.column_name == "x"}
    assert parts == {
        "north": (3_000, 0, "insufficient_data"),
        "west": (0, 3_000, "insufficient_data"),
    }


def test_a_reference_with_slices_serves_a_window_without_them():
    base = sliced_baseline(np.arange(3_000), np.repeat(["north", "south"], 1_500))
    found = compare(base, window(base, x=np.arange(3_000)))
    assert [(f.column_name, f.slice_key) for f in found] == [(":table", None), ("x", None)]


def test_slices_share_the_allowance_for_false_alarms_with_the_table():
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(5):
        by = rng.choice([f"r{i}" for i in range(10)], 20_000)
        base = sliced_baseline(rng.normal(size=20_000), by)
        found = compare(base, sliced(base, rng.normal(size=20_000), by))
        alarms += sum(f.verdict == "drift" for f in found)
    assert alarms == 0


def test_times_are_judged_by_what_is_missing_unless_more_is_asked_for():
    base = baseline(t=pd.date_range("2026-01-01", periods=5_000, freq="min"))
    later = pd.date_range("2026-02-01", periods=5_000, freq="min").to_numpy()
    gaps = later.copy()
    gaps[::2] = np.datetime64("NaT")
    asked = Thresholds(columns={"t": {"wasserstein": 0.5}})
    verdicts = [
        compare(base, window(base, t=values), limits)[1].verdict
        for values, limits in ((later, None), (gaps, None), (later, asked))
    ]
    assert verdicts == ["ok", "drift", "drift"]
    assert compare(base, window(base, t=later))[1].avg_delta == 31 * 86_400


@pytest.mark.parametrize("kind", ["boolean", "date", "decimal"])
def test_columns_of_every_type_drift_when_half_of_them_is_missing(kind):
    values = {
        "boolean": pa.array([True, False] * 1_500),
        "date": pa.array(range(3_000), pa.int32()).cast(pa.date32()),
        "decimal": pa.array(range(3_000)).cast(pa.decimal128(22, 2)),
    }[kind]
    base = baseline(x=pd.Series(values, dtype=pd.ArrowDtype(values.type)))
    half = pa.array([v if i % 2 else None for i, v in enumerate(values.to_pylist())], values.type)
    verdicts = [compare(base, window(base, x=array))[1].verdict for array in (values, half)]
    assert verdicts == ["ok", "drift"]


def test_a_column_that_became_a_text_drifts_by_its_type():
    base = baseline(x=np.arange(100))
    current = TableProfile.empty([ColumnSpec("x", "categorical", "string", categories=())])
    current.update({"x": pa.array(["a"] * 100)})
    found = compare(base, current)[1]
    assert (found.verdict, found.statistic, found.data_type, found.js_distance) == (
        "drift",
        "data_type",
        "string",
        None,
    )


def test_two_windows_of_different_models_cannot_be_compared_and_say_so():
    first, second = baseline(x=np.arange(5_000.0)), baseline(x=np.arange(5_000.0) * 2)
    assert compare(first, second, None, "CONSECUTIVE")[1].verdict == "insufficient_data"


def with_facts(**facts: Any) -> TableProfile:
    profile = baseline(x=np.arange(5_000.0))
    profile.facts = TableFacts(**facts)
    return profile


@pytest.mark.parametrize(
    ("limits", "facts", "drift_type", "verdict", "statistic"),
    [
        ({}, {"rows": 10}, "CONSECUTIVE", "ok", "drifted_share"),
        ({"volume": 0.5}, {"rows": 400}, "CONSECUTIVE", "drift", "volume_ratio"),
        ({"volume": 0.5}, {"rows": 1_600}, "CONSECUTIVE", "drift", "volume_ratio"),
        ({"volume": 0.5}, {"rows": 800}, "CONSECUTIVE", "ok", "drifted_share"),
        ({"volume": 0.5}, {"rows": 400}, "BASELINE", "ok", "drifted_share"),
        ({"quarantined": 0.05}, {"rows": 1_000, "rows_quarantined": 100}, "BASELINE", "drift", "quarantined"),
        ({"quarantined": 0.05}, {"rows": 1_000, "rows_quarantined": 40}, "BASELINE", "ok", "drifted_share"),
        ({"quarantined": 0.05}, {"rows": 20, "rows_quarantined": 2}, "BASELINE", "ok", "drifted_share"),
    ],
)
def test_volume_and_quarantined_share_decide_where_they_have_a_threshold(
    limits, facts, drift_type, verdict, statistic
):
    found = compare(with_facts(rows=1_000), with_facts(**facts), Thresholds(**limits), drift_type)[0]
    assert (found.verdict, found.statistic) == (verdict, statistic)


def test_columns_that_came_went_or_changed_their_type_are_named():
    before = with_facts(rows=9, types={"a": "bigint", "b": "string", "c": "int"})
    after = with_facts(rows=9, types={"a": "long", "c": "double", "d": "date"})
    table = compare(before, after)[0]
    assert table.columns_added == ("d",)
    assert table.columns_missing == ("b",)
    assert table.columns_retyped == ("c: int to double",)


def test_the_share_of_each_rule_is_told_for_both_windows():
    before = with_facts(rows=1_000, rows_quarantined=10, quarantined={"age": 10})
    after = with_facts(rows=500, rows_quarantined=30, quarantined={"age": 5, "size": 25})
    shares = compare(before, after)[0].quarantined
    assert [(s.rule, s.percent_reference, s.percent, s.percent_delta) for s in shares] == [
        ("", 1.0, 6.0, 5.0),
        ("size", 0.0, 5.0, 5.0),
        ("age", 1.0, 1.0, 0.0),
    ]


@pytest.mark.parametrize(("cells", "n", "m"), [(20, 200, 200), (20, 10_000, 100), (100, 1_000, 1_000)])
def test_the_noise_of_the_js_distance_is_that_of_resamples(cells, n, m):
    rng = np.random.default_rng(1)
    p = np.ones(cells) / cells
    squares = js_divergences(rng.multinomial(n, p, 20_000), rng.multinomial(m, p, 20_000))
    noise = js_noise(n * p, m * p, 0.001)
    assert noise.expected**2 == pytest.approx(squares.mean(), rel=0.05)
    assert noise.quantile**2 == pytest.approx(np.quantile(squares, 0.999), rel=0.1)


def test_a_small_window_of_a_heavy_tail_raises_no_alarm():
    rng = np.random.default_rng(5)
    base = baseline(x=rng.pareto(1.5, 10_000))
    verdicts = [compare(base, window(base, x=rng.pareto(1.5, 100)))[1].verdict for _ in range(200)]
    assert "drift" not in verdicts
