"""What a sensitive column holds is told nowhere but in the quarantine."""

from __future__ import annotations

import dataclasses
import io
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from batch_factory import DAY, configure
from hypothesis import given
from hypothesis import strategies as st
from report_factory import DRIFT, GOOD, a_check, a_finding, a_plot, a_record, an_example

from jobs.run_batch import command
from pipelines import metric_tables, profiles, report
from pipelines.errors import ConfigInvalid, ModelFailed, ScorelineError
from pipelines.masking import Masking
from pipelines.records import Distribution, RunDetail

SECRET = "Ada Lovelace"
RULES = {"not_null(name)", "between(age)", "odd: rule"}
masking = Masking.of(["Name", "years"], {"age": "years"})


@pytest.mark.parametrize(
    ("message", "masked"),
    [
        (f"ValueError: could not convert string to float: '{SECRET}'", "ValueError: ***"),
        (f"Boom: {SECRET}\nand more", "Boom: ***"),
        (
            f"predict, partition 0, batch 3: the model raises on 17 or more rows: Boom: {SECRET}.",
            "predict, partition 0, batch 3: the model raises on 17 or more rows: Boom: ***",
        ),
        (f"Spark failed: [CAST_INVALID_INPUT] The value '{SECRET}' of the type", None),
        (f'the value "{SECRET}" is wrong', "the value '***' is wrong"),
    ],
)
def test_what_a_library_says_keeps_its_class_and_loses_its_values(message: str, masked: str | None) -> None:
    said = masking.text(message)
    assert SECRET not in said
    assert masked is None or said == masked


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_name_of_a_rule_stays_as_it_is(rule: str) -> None:
    assert masking.reason(rule, RULES) == rule


def test_reasons_that_are_the_same_without_their_values_are_counted_together() -> None:
    counts = {"ValueError: Ada": 2, "ValueError: Bob": 3, "not_null(name)": 4, "KeyError: x": 1}
    assert masking.reasons(counts, RULES) == {"ValueError: ***": 5, "not_null(name)": 4, "KeyError: ***": 1}


def test_an_example_keeps_other_columns_and_empty_values() -> None:
    row = {"NAME": SECRET, "years": 36, "age": None, "city": "London", "raw_record": f"{SECRET},36"}
    shown = masking.example(an_example(reasons=[f"ValueError: {SECRET}"], row=row), RULES)
    assert shown["row"] == {"NAME": "***", "years": "***", "age": None, "city": "London", "raw_record": "***"}
    assert shown["reasons"] == ["ValueError: ***"]


@pytest.mark.parametrize(
    ("changes", "hidden"),
    [
        ({"column": "name"}, True),
        ({"column": "age"}, True),
        ({"column": None, "kwargs": {"column_A": "x", "column_B": "Name"}}, True),
        ({"column": None, "kwargs": {"unexpected_rows_query": "select NAME from {batch}"}}, True),
        ({"column": "torque"}, False),
    ],
)
def test_what_a_check_observed_in_a_sensitive_column_is_masked(changes: dict[str, Any], hidden: bool) -> None:
    known = a_check("r", **{"observed_value": [SECRET], "exception": f"ValueError: {SECRET}", **changes})
    masked = masking.check(known)
    assert masked == (dataclasses.replace(known, observed_value="***", exception="***") if hidden else known)


def test_bins_are_numbered_instead_of_named() -> None:
    plot = Distribution("Name", "categorical", (SECRET, "Bob", "other"), (1, 0, 0), (0, 1, 0))
    assert masking.distribution(plot).labels == ("bin 1", "bin 2", "other")
    assert masking.distribution(a_plot()) == a_plot()


def test_the_table_of_profiles_tells_no_single_value_of_a_sensitive_column() -> None:
    import pandas as pd

    people = pd.DataFrame(
        {"age": range(90, 111), "name": [SECRET, *"bcdefghijklmnopqrstu"], "torque": range(21)}
    )
    profile = profiles.load_baseline(profiles.baseline_from_pandas(people))
    table = metric_tables.profile_metrics(profile, run_date=date(2026, 11, 22), model_id="toy/1")
    known, told = ({r["column_name"]: r for r in t.to_pylist()} for t in (table, masking.profiles(table)))
    assert told.keys() == known.keys()
    assert told["torque"] == known["torque"]
    assert (known["name"]["frequent_items"] is None, told["name"]["frequent_items"]) == (False, None)
    assert (known["age"]["max"], told["age"]["max"], told["age"]["min"]) == (110.0, None, None)
    assert told["age"]["quantiles"] == [None, *known["age"]["quantiles"][1:-1], None]
    assert told["age"]["avg"] == known["age"]["avg"]
    assert Masking.of([]).profiles(table) is table


def test_slices_by_a_sensitive_column_stay_apart_without_their_names() -> None:
    def of(key: str, value: str) -> Any:
        return a_finding(slice_key=key, slice_value=value)

    found = masking.findings([of("name", "Ada"), of("name", "Bob"), of("name", "Ada"), of("city", "Rome")])
    assert [f.slice_value for f in found] == ["value 1", "value 2", "value 1", "Rome"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModelFailed(f"predict, batch 3: ValueError: {SECRET}"), "predict, batch 3: ValueError: ***"),
        (ScorelineError(f"KeyError: '{SECRET}'"), "KeyError: ***"),
        (ConfigInvalid("source.key: no column 'id'."), "source.key: no column 'id'."),
    ],
)
def test_only_errors_that_may_quote_the_data_are_masked(error: ScorelineError, told: str) -> None:
    assert masking.error(error) == told


def test_a_page_tells_nothing_of_a_sensitive_column() -> None:
    detail = RunDetail(
        a_record(quarantined_by=masking.reasons({f"ValueError: {SECRET}": 1}, RULES)),
        checks=(a_check(column="name", observed_value=SECRET, exception=SECRET, success=False),),
        drift=(a_finding("name", "drift"), a_finding(slice_key="name", slice_value=SECRET)),
        distributions=(Distribution("name", "categorical", (SECRET, "b"), (0.5, 0.5), (0.4, 0.6)),),
        quarantine_examples=(
            an_example(reasons=[f"X: {SECRET}"], row={"name": SECRET, "raw_record": SECRET}),
        ),
    )
    assert SECRET in report.render_run(detail)
    assert SECRET not in report.render_run(masking.detail(detail, RULES))


@pytest.mark.parametrize("detail", [GOOD, DRIFT])
def test_without_sensitive_columns_nothing_is_changed(detail: RunDetail) -> None:
    nothing = Masking.of([])
    assert nothing.detail(detail, ()) is detail
    assert nothing.text(f"ValueError: '{SECRET}'") == f"ValueError: '{SECRET}'"


@pytest.mark.parametrize(("sensitive", "traced"), [([], True), (["name"], False)])
def test_a_stack_trace_is_logged_only_where_nothing_is_sensitive(
    sensitive: list[str],
    traced: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ModelFailed("predict: ValueError: ***") from ValueError(SECRET)

    monkeypatch.setattr("pipelines.run_batch", fails)
    config = configure(tmp_path, "models:/m/1", quality={"sensitive": sensitive})
    command.main(["--config", str(config), "--run-date", DAY], standalone_mode=False, obj=io.StringIO())
    assert any(r.exc_info for r in caplog.records) is traced
    assert "predict: ValueError: ***" in caplog.text


@given(value=st.text(min_size=1, max_size=30).filter(lambda v: v not in "ValueError: ***"))
def test_no_value_survives_behind_the_class_of_an_exception(value: str) -> None:
    assert masking.text(f"ValueError: {value}") == "ValueError: ***"
