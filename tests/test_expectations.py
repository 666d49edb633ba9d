"""Suites are read strictly, planned without touching data, and judged by GX on what was measured."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.errors import ConfigInvalid, InvariantBroken
from pipelines.expectations import SuitePlan, SuiteVerdict, judge, load_suite, plan_suite
from pipelines.expectations.measured import TRACKED
from pipelines.expectations.suites import check_version

NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "age"}}
IN_RANGE = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "age", "min_value": 0, "max_value": 99},
}
UNIQUE = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}
ROWS = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}


@pytest.fixture
def frame(spark: SparkSession) -> DataFrame:
    rows = [(0, 5, "Oslo"), (1, None, "Rome"), (2, -3, None), (3, 40, "12"), (4, 120, "")]
    return spark.createDataFrame(rows, "id long, age int, city string")


def written(folder: Path, *expectations: dict[str, Any], **more: Any) -> Path:
    path = folder / "suite.json"
    path.write_text(json.dumps({"name": "demo", "expectations": list(expectations), **more}))
    return path


def planned(folder: Path, frame: DataFrame, *expectations: dict[str, Any]) -> SuitePlan:
    return plan_suite(load_suite(written(folder, *expectations), "input"), frame.schema, frame.sparkSession)


def measured(frame: DataFrame, plan: SuitePlan) -> tuple[int, dict[str, int], dict[str, Any]]:
    row = frame.agg(
        F.count(F.lit(1)).alias("rows"),
        *(F.sum(c.column.cast("long")).alias(f"c{i}") for i, c in enumerate(plan.conditions)),
        *(column.alias(f"a{i}") for i, column in enumerate(plan.aggregates.values())),
    ).collect()[0]
    counts = {c.key: row[f"c{i}"] or 0 for i, c in enumerate(plan.conditions)}
    return row["rows"], counts, {key: row[f"a{i}"] for i, key in enumerate(plan.aggregates)}


def judged(folder: Path, frame: DataFrame, *expectations: dict[str, Any]) -> SuiteVerdict:
    plan = planned(folder, frame, *expectations)
    return judge(plan, *measured(frame, plan), frame)


def about(rule: dict[str, Any], severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {**rule, "severity": severity, "kwargs": {**rule["kwargs"], **kwargs}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "no list 'expectations'"),
        ('{"name": "x"}', "no list 'expectations'"),
        ('{"expectations": [3]}', r"expectations\[0\]: expected an object with a 'type'"),
        ('{"expectations": [{"expectation_type": "x", "kwargs": {}}]}', "0.x form"),
        ('{"expectations": [{"type": "expect_column_values_to_be_betwen"}]}', "mean .*_to_be_between"),
        (
            '{"expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {"colum": "a"}}]}',
            "colum",
        ),
        (
            '{"expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "kwarg": {}}]}',
            "kwarg",
        ),
        (
            '{"expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "severity": "bad"}]}',
            "[Ss]everity",
        ),
        (
            '{"expectations": [{"type": "expect_table_row_count_to_equal", "kwargs": {"value": "many"}}]}',
            "value",
        ),
    ],
)
def test_a_file_that_is_no_valid_suite_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ConfigInvalid, match=message) as caught:
        load_suite(path, "input")
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="No such file"):
        load_suite(tmp_path / "none.json", "input")


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, {"type": "nope"}, NOT_NULL, about(IN_RANGE, mostly=7))
    with pytest.raises(ConfigInvalid, match=r"(?s)2 problem.*expectations\[0\].*expectations\[2\]"):
        load_suite(path, "input")


def test_rule_names_are_readable_and_unique(tmp_path: Path) -> None:
    pair = {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "a", "column_B": "b"}}
    named = {**NOT_NULL, "meta": {"name": "age is known"}}
    suite = load_suite(written(tmp_path, NOT_NULL, NOT_NULL, pair, ROWS, named), "input")
    assert [rule.name for rule in suite.rules] == [
        "expect_column_values_to_not_be_null(age)",
        "expect_column_values_to_not_be_null(age) #2",
        "expect_column_pair_values_to_be_equal(a, b)",
        "expect_table_row_count_to_be_between",
        "age is known",
    ]


def test_a_rule_without_severity_is_critical_as_in_gx(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, NOT_NULL, about(IN_RANGE, "info")), "input")
    assert [rule.severity for rule in suite.rules] == ["critical", "info"]


def test_suite_parameters_fill_in_their_values(tmp_path: Path) -> None:
    rule = {"type": "expect_table_row_count_to_equal", "kwargs": {"value": {"$PARAMETER": "size"}}}
    suite = load_suite(written(tmp_path, rule, suite_parameters={"size": 7}), "input")
    assert suite.rules[0].kwargs == {"value": 7}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            [about(NOT_NULL, column="agee"), about(IN_RANGE, column="aeg")],
            "(?s)2 problem.*'agee'.*mean age.*'aeg'",
        ),
        ([about(NOT_NULL, row_condition="size > 3", condition_parser="spark")], "size"),
        ([about(NOT_NULL, row_condition="age >", condition_parser="spark")], "(?i)syntax"),
        ([about(IN_RANGE, column="city")], "city|STRING|string"),
        ([about(IN_RANGE, min_value=5, max_value=1)], "min_value"),
        (
            [{"type": "expect_column_values_to_match_regex", "kwargs": {"column": "city", "regex": "a("}}],
            r"a\(",
        ),
        (
            [{"type": "expect_column_sum_to_be_between", "kwargs": {"column": "city", "max_value": 1}}],
            "numbers",
        ),
        (
            [{"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "city", "value_set": [1]}}],
            "CAST",
        ),
        (
            [
                {
                    "type": "expect_column_values_to_match_like_pattern",
                    "kwargs": {"column": "city", "like_pattern": "a"},
                }
            ],
            "cannot judge this on Spark",
        ),
        (
            [
                {
                    "type": "expect_column_pair_values_to_be_in_set",
                    "kwargs": {
                        "column_A": "id",
                        "column_B": "age",
                        "value_pairs_set": [[0, 5]],
                        "row_condition": "id < 3",
                        "condition_parser": "spark",
                    },
                }
            ],
            "ignores row_condition",
        ),
    ],
)
def test_a_suite_that_cannot_work_on_the_frame_is_refused(
    tmp_path: Path, frame: DataFrame, rules: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        planned(tmp_path, frame, *rules)


def test_a_comparison_of_text_with_numbers_is_left_to_gx_when_no_row_depends_on_it(
    tmp_path: Path, frame: DataFrame
) -> None:
    rule = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "city", "value_set": [1]}}
    verdict = judged(tmp_path, frame, about(rule, "warning"), IN_RANGE)
    assert verdict.extra_passes == ("expect_column_values_to_be_in_set(city)",)
    assert "CAST_INVALID_INPUT" in str(verdict.outcomes[0].exception)
    assert verdict.outcomes[1].unexpected_count == 2


def test_a_domain_that_happens_to_guard_a_cast_is_not_relied_upon(tmp_path: Path, frame: DataFrame) -> None:
    guard = {"row_condition": "city rlike '^[0-9]+$'", "condition_parser": "spark"}
    rule = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "city", "value_set": [12]}}
    verdict = judged(tmp_path, frame, about(rule, "warning", **guard))
    assert verdict.extra_passes == ("expect_column_values_to_be_in_set(city)",)
    assert (verdict.outcomes[0].success, verdict.outcomes[0].element_count) == (True, 1)


def test_absent_columns_are_no_mistake_where_presence_is_the_question(
    tmp_path: Path, frame: DataFrame
) -> None:
    verdict = judged(tmp_path, frame, {"type": "expect_column_to_exist", "kwargs": {"column": "absent"}})
    assert [outcome.success for outcome in verdict.outcomes] == [False]
    assert verdict.extra_passes == ()


def test_planning_runs_no_spark_job(tmp_path: Path, spark: SparkSession, frame: DataFrame) -> None:
    suite = load_suite(written(tmp_path, NOT_NULL, IN_RANGE, UNIQUE, ROWS), "input")
    spark.sparkContext.setJobGroup("planning", "planning")
    try:
        plan_suite(suite, frame.schema, spark)
        assert list(spark.sparkContext.statusTracker().getJobIdsForGroup("planning")) == []
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
        spark.sparkContext.setLocalProperty("spark.job.description", None)


def test_judging_measured_rules_runs_no_spark_job(
    tmp_path: Path, spark: SparkSession, frame: DataFrame
) -> None:
    plan = planned(tmp_path, frame, NOT_NULL, IN_RANGE, ROWS)
    values = measured(frame, plan)
    spark.sparkContext.setJobGroup("judging", "judging")
    try:
        assert judge(plan, *values, frame).extra_passes == ()
        assert list(spark.sparkContext.statusTracker().getJobIdsForGroup("judging")) == []
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
        spark.sparkContext.setLocalProperty("spark.job.description", None)


def test_what_rules_share_is_measured_once(tmp_path: Path, frame: DataFrame) -> None:
    rules = [IN_RANGE, about(IN_RANGE, max_value=50), about(NOT_NULL), about(IN_RANGE, mostly=0.5)]
    keys = [condition.key for condition in planned(tmp_path, frame, *rules).conditions]
    assert len(keys) == len(set(keys)) == 3  # one for null, two ranges; `mostly` changes no row's verdict


def test_two_hundred_rules_become_as_many_conditions(tmp_path: Path, frame: DataFrame) -> None:
    plan = planned(tmp_path, frame, *(about(IN_RANGE, max_value=i + 1) for i in range(200)))
    assert len(plan.conditions) == 201
    assert len(plan.critical) == len(set(plan.critical.values())) == 200


def test_conditions_are_never_null_even_where_values_are(tmp_path: Path, frame: DataFrame) -> None:
    rules = [
        NOT_NULL,
        IN_RANGE,
        about(IN_RANGE, row_condition="age > 3", condition_parser="spark"),
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "city", "regex": "^[A-Z]"}},
        {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "id", "column_B": "age"}},
        {"type": "expect_multicolumn_sum_to_equal", "kwargs": {"column_list": ["id", "age"], "sum_total": 5}},
    ]
    plan = planned(tmp_path, frame, *rules)
    verdicts = frame.select(*(c.column.alias(f"c{i}") for i, c in enumerate(plan.conditions))).collect()
    assert {value for row in verdicts for value in row} == {True, False}


def test_critical_rules_name_the_rows_that_violate_them(tmp_path: Path, frame: DataFrame) -> None:
    guarded = about(IN_RANGE, row_condition="id < 3", condition_parser="spark")
    plan = planned(
        tmp_path, frame, NOT_NULL, IN_RANGE, guarded, about(IN_RANGE, "warning", max_value=1), ROWS, UNIQUE
    )
    columns = {condition.key: condition.column for condition in plan.conditions}
    violating = {n: {r.id for r in frame.where(columns[k]).collect()} for n, k in plan.critical.items()}
    assert violating == {
        "expect_column_values_to_not_be_null(age)": {1},
        "expect_column_values_to_be_between(age)": {2, 4},  # a missing age is the other rule's business
        "expect_column_values_to_be_between(age) #2": {2},
    }


def test_rules_that_need_other_rows_are_listed_as_extra(tmp_path: Path, frame: DataFrame) -> None:
    z_score = {
        "type": "expect_column_value_z_scores_to_be_less_than",
        "kwargs": {"column": "age", "threshold": 1, "double_sided": True},
    }
    median = {"type": "expect_column_median_to_be_between", "kwargs": {"column": "age", "max_value": 9}}
    plan = planned(tmp_path, frame, NOT_NULL, UNIQUE, z_score, median)
    assert plan.extra == (
        "expect_column_values_to_be_unique(id)",
        "expect_column_value_z_scores_to_be_less_than(age)",
        "expect_column_median_to_be_between(age)",
    )
    assert plan.aggregates == {}  # what only they would need is not measured for nothing


def test_an_extra_pass_reads_only_the_columns_it_names(tmp_path: Path, frame: DataFrame) -> None:
    explosive = frame.withColumn("bomb", F.raise_error(F.lit("was read")).cast("string"))
    plan = planned(tmp_path, explosive, UNIQUE, NOT_NULL)
    verdict = judge(plan, *measured(explosive, plan), explosive)
    assert verdict.extra_passes == ("expect_column_values_to_be_unique(id)",)
    assert [outcome.success for outcome in verdict.outcomes] == [True, False]


def test_an_extra_pass_without_a_frame_is_an_exception_in_its_own_result(
    tmp_path: Path, frame: DataFrame
) -> None:
    plan = planned(tmp_path, frame, UNIQUE, ROWS)
    unique, rows = judge(plan, *measured(frame, plan)).outcomes
    assert not unique.success
    assert "no frame to read" in str(unique.exception)
    assert rows.success


def test_more_distinct_values_than_are_tracked_are_counted_by_gx(tmp_path: Path, spark: SparkSession) -> None:
    many = spark.range(2 * TRACKED)
    rule = {
        "type": "expect_column_unique_value_count_to_be_between",
        "kwargs": {"column": "id", "max_value": 9},
    }
    plan = planned(tmp_path, many, rule)
    verdict = judge(plan, *measured(many, plan), many)
    assert plan.extra == ()
    assert verdict.extra_passes == ("expect_column_unique_value_count_to_be_between(id)",)
    assert verdict.outcomes[0].observed_value == 2 * TRACKED


def test_an_empty_frame_is_judged_too(tmp_path: Path, frame: DataFrame) -> None:
    most = {"type": "expect_column_max_to_be_between", "kwargs": {"column": "age", "max_value": 9}}
    verdict = judged(tmp_path, frame.limit(0), NOT_NULL, IN_RANGE, ROWS, most)
    assert [outcome.success for outcome in verdict.outcomes] == [True, True, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [({}, "not measured"), ({"count": -1}, "impossible"), ({"count": 6}, "impossible")],
)
def test_counts_that_cannot_be_are_our_fault(
    tmp_path: Path, frame: DataFrame, change: dict[str, int], message: str
) -> None:
    plan = planned(tmp_path, frame, NOT_NULL)
    counts = {condition.key: change["count"] for condition in plan.conditions if change}
    with pytest.raises(InvariantBroken, match=message):
        judge(plan, 5, counts, {})


@pytest.fixture(scope="module")
def mostly_plan(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SuitePlan:
    path = written(tmp_path_factory.mktemp("mostly"), about(IN_RANGE, mostly=0.9))
    return plan_suite(
        load_suite(path, "input"), spark.range(0).select(F.col("id").alias("age")).schema, spark
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**12), st.data())
def test_success_is_the_share_of_known_values_that_are_expected(
    mostly_plan: SuitePlan, rows: int, data: st.DataObject
) -> None:
    nulls = data.draw(st.integers(0, rows))
    unexpected = data.draw(st.integers(0, rows - nulls))
    wanted = {"nonnull": nulls, "between": unexpected}
    counts = {c.key: wanted[c.key.partition(".")[2].partition("-")[0]] for c in mostly_plan.conditions}
    outcome = judge(mostly_plan, rows, counts, {}).outcomes[0]
    known = rows - nulls
    assert outcome.success == (known == 0 or (known - unexpected) / known >= 0.9)
    assert (outcome.element_count, outcome.missing_count) == (rows, nulls)
    assert outcome.unexpected_count == (unexpected if rows else None)


def test_an_outcome_tells_what_was_asked_and_what_was_found(tmp_path: Path, frame: DataFrame) -> None:
    outcome = judged(tmp_path, frame, about(IN_RANGE, "warning", mostly=0.9)).outcomes[0]
    assert (outcome.suite, outcome.severity, outcome.column) == ("input", "warning", "age")
    assert outcome.kwargs == {"column": "age", "min_value": 0, "max_value": 99, "mostly": 0.9}
    assert (outcome.element_count, outcome.missing_count, outcome.unexpected_count) == (5, 1, 2)
    assert (outcome.unexpected_percent, outcome.success, outcome.exception) == (50.0, False, None)


def test_the_result_is_one_of_gx_and_its_data_docs_show_it(tmp_path: Path, frame: DataFrame) -> None:
    verdict = judged(tmp_path, frame, NOT_NULL, IN_RANGE, ROWS, UNIQUE)
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    assert isinstance(verdict.result, ExpectationSuiteValidationResult)
    assert verdict.result.statistics["evaluated_expectations"] == 4
    as_json = json.loads(json.dumps(verdict.result.to_json_dict()))
    assert [r["success"] for r in as_json["results"]] == [False, False, True, True]
    page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(verdict.result))
    assert "age" in page


def test_nothing_is_written_to_the_working_folder(
    tmp_path: Path, frame: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    judged(tmp_path, frame, NOT_NULL, UNIQUE)
    assert list((tmp_path / "here").iterdir()) == []


def test_without_grpcio_gx_is_refused_before_it_ends_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, NOT_NULL)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigInvalid, match="grpcio is not installed"):
        load_suite(path, "input")


@pytest.mark.parametrize("found", ["0.18.22", "1.23.9", "2.0.0"])
def test_a_gx_of_another_kind_is_refused(found: str) -> None:
    with pytest.raises(ConfigInvalid, match=found):
        check_version(found)


def test_a_newer_gx_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="newer than the tested"):
        check_version("1.25.1")


def test_the_package_is_imported_without_importing_gx() -> None:
    code = "import sys, pipelines.expectations; sys.exit('great_expectations' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
