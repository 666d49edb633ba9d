"""What the bench makes of its seconds."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.bench import tables
from scripts.bench.cases import FORMATS, KINDS, MODELS, Case, matrix, quick, usual
from scripts.bench.measure import Missing, interleaved, ratio, spread, steps
from scripts.study_scaling import predicted


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    figures = iter(range(100))

    def runs(name: str) -> Any:
        return lambda: order.append(name) or {"seconds": float(next(figures))}

    found = interleaved({"a": runs("a"), "b": runs("b")}, rounds=2, absent={})
    assert order == ["a", "b"] * 3
    assert found == {"a": {"seconds": [2.0, 4.0]}, "b": {"seconds": [3.0, 5.0]}}


def test_one_that_gives_no_seconds_is_timed() -> None:
    found = interleaved({"a": lambda: None}, rounds=3, absent={})
    assert [s >= 0 for s in found["a"]["seconds"]] == [True] * 3


def test_one_that_cannot_take_part_is_named_with_its_reason_and_asked_once() -> None:
    asked: list[int] = []

    def missing() -> None:
        asked.append(1)
        raise Missing("ray: no such wheel")

    absent: dict[str, str] = {}
    found = interleaved({"ray": missing, "a": lambda: None}, rounds=2, absent=absent)
    assert (list(found), absent, len(asked)) == (["a"], {"ray": "ray: no such wheel"}, 1)


def test_one_that_fails_is_told_and_the_others_go_on() -> None:
    absent: dict[str, str] = {}
    found = interleaved({"a": lambda: {}["x"], "b": lambda: None}, rounds=1, absent=absent)
    assert (list(found), absent) == (["b"], {"a": "it failed: KeyError: 'x'"})
    pair = result("drift", {"b": {"seconds": [1.0]}}, absent=absent)
    assert "Not there: a, because it failed" in tables.page([pair])


def test_a_ratio_is_the_median_of_those_within_rounds() -> None:
    slow_later = [1.0, 2.0, 10.0]  # the machine slows down; who is compared slows down with it
    assert ratio([0.5, 1.0, 9.0], slow_later) == 0.5
    assert spread([0.5, 1.0, 9.0], slow_later) == (0.5, 0.9)
    with pytest.raises(ValueError, match="argument"):
        ratio([1.0], slow_later)


def test_steps_add_up_to_the_last_one() -> None:
    parts = steps({"read": [1.0, 3.0, 2.0], "predict": [5.0, 4.0, 6.0], "write": [5.5, 4.5, 5.0]})
    assert parts == {"read": 2.0, "predict": 3.0, "write": 0.0}


def result(kind: str, series: dict[str, Any], **more: Any) -> dict[str, Any]:
    about = {
        "model": "logistic",
        "form": "parquet",
        "rows": 100,
        "columns": 20,
        "types": "double",
        "rounds": 3,
    }
    return (
        {"kind": kind, "machine": "2 cores", "date": "2026-01-01", "absent": {}, "series": series}
        | about
        | more
    )


def test_the_page_compares_with_spark_udf_and_says_who_is_not_there() -> None:
    series = {
        "spark_udf": {"seconds": [2.0, 2.0, 2.0]},
        "scoreline, audited": {"seconds": [1.0, 1.2, 0.8], "stage.score": [0.5, 0.5, 0.5]},
        "floor: pyarrow + model, one process per core": {"seconds": [0.4, 0.4, 0.4]},
    }
    page = tables.page([result("warm", series, absent={"Ray Data": "ray: no such wheel"})])
    assert "| scoreline, audited | 1.00 | 100 | 0.50 (0.40 to 0.60) | 0.80 |" in page
    assert "Not there: Ray Data, because ray: no such wheel" in page


def test_a_cold_run_is_broken_down_by_stage_and_nothing_is_left_over() -> None:
    run = {
        "seconds": [10.0],
        "cpu": [12.0],
        "stage.launch": [3.0],
        "stage.score": [4.0],
        "stage.total": [8.0],
    }
    page = tables.page([result("cold", {"spark_udf": {"seconds": [20.0], "cpu": [15.0]}, "run": run})])
    assert "| run | 10.00 | 10 | 0.50 (0.50 to 0.50) | 12.0 |" in page
    assert "| run | 3.00 | 4.00 | 1.00 | 2.00 |" in page  # between stages 1 s, after the record 2 s


def test_where_time_goes_adds_up_to_the_whole() -> None:
    series = {
        "udf/JVM decode": {"seconds": [1.0]},
        "udf/predict": {"seconds": [3.0]},
        "scan/decode": {"seconds": [2.0]},
    }
    page = tables.page([result("stages", series)])
    assert (
        "| JVM decode | 1.00 | 33% |\n| predict | 2.00 | 67% |\n| the whole audited run | 3.00 | 100% |"
        in page
    )
    assert "| decode | 2.00 | 100% |" in page


def test_drift_and_scale_are_told_in_a_sentence() -> None:
    pair = {"without": {"seconds": [1.0, 2.0]}, "with": {"seconds": [1.04, 2.12]}}
    assert "Drift of 20 columns adds 5.0% (4.0% to 6.0%)" in tables.page([result("drift", pair)])
    memory = {"peak_worker_rss_mb": [300.0], "driver_peak_mb": [200.0], "jvm_peak_mb": [500.0]}
    sizes = {"4": {"seconds": [3.0], **memory}, "40": {"seconds": [27.0], **memory}}
    assert "Ten times the rows take 9.00 times as long" in tables.page([result("scale", sizes)])


def test_the_matrix_has_every_model_format_and_shape_and_names_are_unique() -> None:
    cases = list(matrix(4_000_000, 5))
    warm = {(c.model, c.form, c.columns, c.mixed) for c in cases if c.kind == "warm"}
    assert warm == {(m, f, n, x) for m in MODELS for f in FORMATS for n in (20, 200) for x in (False, True)}
    assert {c.kind for c in cases} == set(KINDS) == {c.kind for c in quick()}
    for some in (cases, list(usual(4_000_000, 5)), list(quick())):
        assert len({c.stem for c in some}) == len(some)


def test_a_case_is_named_by_what_it_measures() -> None:
    assert Case(mixed=True, form="csv").stem == "warm-logistic-csv-4000000x20-mixed"


def test_in_the_model_rows_and_accounts_are_shared_by_cores() -> None:
    of_driver = {"fixed": 10.0, "per_file": 0.001, "per_unit": 0.002, "per_task": 0.01}
    terms = of_driver | {"per_row": 0.99e-6, "per_account": 0.01}
    one, many = predicted(terms, 10**9, 1000, 1), predicted(terms, 10**9, 1000, 100)
    assert one == {"cores": 1, "driver": 18.0, "total": 1018.0, "share": pytest.approx(18 / 1018)}
    assert many["total"] == pytest.approx(18.0 + 10.0)
