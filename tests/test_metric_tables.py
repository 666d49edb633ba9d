"""The metric tables have the columns, types and conventions that existing queries expect."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.drift import compare
from pipelines.metric_tables import drift_metrics, profile_metrics
from pipelines.profiles import TableFacts, TableProfile, baseline_from_pandas, load_baseline

DAY = date(2026, 11, 22)
WINDOW = {"start": datetime(2026, 11, 22, tzinfo=UTC), "end": datetime(2026, 11, 23, tzinfo=UTC)}
STAMPS = "struct<start: timestamp[us, tz=UTC], end: timestamp[us, tz=UTC]>"
TEST = "struct<statistic: double, pvalue: double>"

PROFILE_COLUMNS = f"""
window {STAMPS}
log_type string
logging_table_commit_version int32
monitor_version int64
granularity string
slice_key string
slice_value string
column_name string
count int64
data_type string
num_nulls int64
avg double
quantiles list<item: double>
min double
max double
stddev double
num_zeros int64
num_nan int64
min_length double
max_length double
avg_length double
non_null_columns list<item: string>
frequent_items list<item: struct<item: string, count: int64>>
median double
distinct_count int64
percent_nan double
percent_null double
percent_zeros double
percent_distinct double
model_id string
quarantined list<item: struct<rule: string, count: int64, percent: double>>
"""

DRIFT_COLUMNS = f"""
window {STAMPS}
granularity string
monitor_version int64
slice_key string
slice_value string
column_name string
data_type string
window_cmp {STAMPS}
drift_type string
count_delta int64
avg_delta double
percent_null_delta double
percent_zeros_delta double
percent_distinct_delta double
non_null_columns_delta struct<added: int32, missing: int32>
js_distance double
ks_test {TEST}
wasserstein_distance double
population_stability_index double
chi_squared_test {TEST}
tv_distance double
l_infinity_distance double
model_id string
verdict string
threshold double
n_ref int64
n_cur int64
error_bound double
statistic string
percent_nan_delta double
volume_ratio double
columns_added list<item: string>
columns_missing list<item: string>
columns_retyped list<item: string>
quarantined list<item: struct<rule: string, percent: double, percent_delta: double>>
"""


@pytest.fixture
def reference() -> TableProfile:
    frame = pd.DataFrame({"age": [0, 10, 20, 30], "city": ["a", "a", "bcd", None], "empty": [np.nan] * 4})
    return load_baseline(baseline_from_pandas(frame))


def window_of(reference: TableProfile) -> TableProfile:
    profile = TableProfile.empty(reference.specs)
    profile.update({"age": pa.array([0, 10, None]), "city": pa.array(["a", "new", "a"])})
    return profile


def columns(table: pa.Table) -> list[str]:
    return [f"{f.name} {f.type}" for f in table.schema]


def test_both_tables_have_the_published_columns_in_their_order(reference):
    findings = compare(reference, window_of(reference))
    assert (
        columns(profile_metrics(reference, run_date=DAY, model_id="m/1")) == PROFILE_COLUMNS.split("\n")[1:-1]
    )
    assert columns(drift_metrics(findings, run_date=DAY, model_id="m/1")) == DRIFT_COLUMNS.split("\n")[1:-1]


def test_a_profile_has_a_row_for_the_table_and_one_per_column(reference):
    table, age, city, empty = profile_metrics(reference, run_date=DAY, model_id="m/1").to_pylist()
    assert all(row["window"] == WINDOW and row["granularity"] == "1 day" for row in (table, age, city, empty))
    assert (table["column_name"], table["count"], table["non_null_columns"]) == (":table", 4, ["age", "city"])
    assert (age["avg"], age["min"], age["max"], age["median"], age["num_zeros"]) == (15.0, 0.0, 30.0, 10.0, 1)
    assert (age["quantiles"][0], age["quantiles"][-1], len(age["quantiles"])) == (0.0, 30.0, 21)
    assert age["stddev"] == pytest.approx(np.std([0, 10, 20, 30], ddof=1))
    assert (age["percent_zeros"], age["percent_distinct"], age["frequent_items"]) == (25.0, 100.0, None)
    assert (city["min_length"], city["max_length"], city["avg_length"]) == (1.0, 3.0, 5 / 3)
    assert city["frequent_items"] == [{"item": "a", "count": 2}, {"item": "bcd", "count": 1}]
    assert (city["percent_null"], city["distinct_count"], city["avg"]) == (25.0, 2, None)
    assert (empty["num_nulls"], empty["avg"], empty["quantiles"], empty["stddev"]) == (4, None, None, None)


def test_the_log_type_says_whose_profile_it_is(reference):
    kinds = {
        kind: profile_metrics(reference, run_date=DAY, model_id="m/1", log_type=kind)
        for kind in ("INPUT", "BASELINE")
    }
    assert all(set(table["log_type"].to_pylist()) == {kind} for kind, table in kinds.items())


def test_findings_become_rows_in_their_order(reference):
    findings = compare(reference, window_of(reference))
    table, age, city, empty = drift_metrics(findings, run_date=DAY, model_id="m/1").to_pylist()
    assert [r["column_name"] for r in (table, age, city, empty)] == [":table", "age", "city", "empty"]
    assert table["non_null_columns_delta"] == {"added": 0, "missing": 0}
    assert (table["count_delta"], table["js_distance"], table["ks_test"]) == (-1, None, None)
    assert (age["ks_test"]["statistic"], age["chi_squared_test"], age["non_null_columns_delta"]) == (
        0.5,
        None,
        None,
    )
    assert (city["tv_distance"], city["ks_test"]) == (pytest.approx(1 / 3), None)
    assert city["chi_squared_test"]["statistic"] > 0
    assert (age["n_ref"], age["n_cur"], age["verdict"]) == (4, 3, "insufficient_data")


@pytest.mark.parametrize(("drift_type", "expected"), [("BASELINE", None), ("CONSECUTIVE", WINDOW)])
def test_only_a_comparison_with_an_earlier_window_names_it(reference, drift_type, expected):
    findings = compare(reference, window_of(reference), None, drift_type)
    rows = drift_metrics(findings, run_date=date(2026, 11, 23), model_id="m/1", compared_date=DAY).to_pylist()
    assert [row["window_cmp"] for row in rows] == [expected] * 4


def test_the_tables_of_no_columns_are_written_and_read_back(tmp_path):
    empty = TableProfile({})
    for table in (
        profile_metrics(empty, run_date=DAY, model_id="m/1"),
        drift_metrics((), run_date=DAY, model_id="m/1"),
    ):
        pq.write_table(table, tmp_path / "t.parquet")
        assert pq.read_table(tmp_path / "t.parquet").equals(table)


def test_slices_have_rows_of_their_own_in_both_tables(reference):
    window = TableProfile.empty(reference.specs)
    window.update({"age": pa.array([0, 10, None])}, {"age > 5": pa.array([False, True, None])})
    rows = profile_metrics(window, run_date=DAY, model_id="m/1").to_pylist()
    counted = {(r["slice_key"], r["slice_value"]): r["count"] for r in rows if r["column_name"] == ":table"}
    assert counted == {
        (None, None): 3,
        ("age > 5", "false"): 1,
        ("age > 5", "true"): 1,
        ("age > 5", None): 1,
    }
    found = drift_metrics(compare(reference, window), run_date=DAY, model_id="m/1").to_pylist()
    assert {(r["slice_key"], r["slice_value"]) for r in found} == counted.keys()


def test_rules_and_changed_columns_stand_in_the_row_of_the_table(reference):
    window = window_of(reference)
    reference.facts = TableFacts(100, 2, {"age": "bigint", "city": "string"}, {"age_between": 2})
    window.facts = TableFacts(50, 2, {"age": "long", "city": "int", "zip": "string"}, {"age_between": 2})
    table, age, *_ = drift_metrics(compare(reference, window), run_date=DAY, model_id="m/1").to_pylist()
    assert (table["columns_added"], table["columns_missing"]) == (["zip"], [])
    assert table["columns_retyped"] == ["city: string to int"]
    assert table["quarantined"] == [
        {"rule": None, "percent": 4.0, "percent_delta": 2.0},
        {"rule": "age_between", "percent": 4.0, "percent_delta": 2.0},
    ]
    assert (table["volume_ratio"], table["count_delta"], age["quarantined"]) == (0.5, -50, None)
    profiled = profile_metrics(window, run_date=DAY, model_id="m/1").to_pylist()
    assert profiled[0]["quarantined"] == [{"rule": "age_between", "count": 2, "percent": 4.0}]
