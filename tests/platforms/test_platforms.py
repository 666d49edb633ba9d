"""One behaviour on every platform: a local session, a standalone cluster, a Spark Connect server.

The runs are made once per platform (see ``conftest.plan``); the tests look at what came of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import PLATFORMS, Outcomes, Site

from pipelines.records import plain

pytestmark = [pytest.mark.platforms, pytest.mark.timeout(1500)]
TABLES = ("predictions", "quarantine", "profile_metrics", "drift_metrics")


def expected(site: Site) -> pd.DataFrame:
    """What scikit-learn says of the rows that are neither refused before nor after."""
    from mlflow.sklearn import load_model

    good = site.frame[site.frame["a"].notna() & (site.frame["a"] <= 10)]
    said = load_model(str(site.home / "toy-model")).predict(good[["a", "b"]])
    return good.assign(prediction=said)[said >= -30]


def in_order(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Rows of some columns, in an order of their own."""
    return sorted(frame[list(columns)].astype(str).itertuples(index=False, name=None))


def test_the_platform_is_the_one_it_is_said_to_be(outcomes: Outcomes) -> None:
    remote = outcomes.name == "connect"
    assert (outcomes.platform["remote"], outcomes.platform["jvm"]) == (remote, not remote)
    assert outcomes.platform["master"].startswith("spark:" if outcomes.name == "cluster" else "local")


def test_a_server_that_does_not_see_the_sink_is_noticed(outcomes: Outcomes) -> None:
    assert outcomes.platform["shares"] == [True, outcomes.name != "connect"]


def test_a_run_is_published_and_says_by_which_engine(outcomes: Outcomes) -> None:
    main = outcomes.steps["main"]
    assert (main["code"], main["record"]["status"], main["work"]) == (0, "published", [])
    assert main["record"]["spark"]["engine"] == "udf"  # the suite's regular expression is Spark's
    assert main["record"]["model"]["alias"] == "champion"


def test_workers_read_for_themselves_where_the_driver_has_spark_at_hand(outcomes: Outcomes) -> None:
    spark = outcomes.steps["counted"]["record"]["spark"]
    remote = outcomes.name == "connect"
    assert spark["engine"] == ("udf" if remote else "scan")
    assert ("Connect" in spark.get("engine_reason", "")) == remote


def test_predictions_are_scikit_learns_bit_for_bit(outcomes: Outcomes) -> None:
    wanted = expected(outcomes.site)
    for step in ("main", "text", "text-in-parts"):
        found = outcomes.table("predictions", step).sort_values("id")
        assert found["id"].tolist() == wanted["id"].tolist()
        assert found["prediction"].to_numpy().tobytes() == wanted["prediction"].to_numpy().tobytes()
        assert found["region"].tolist() == wanted["region"].tolist()


def test_every_row_read_is_scored_or_quarantined(outcomes: Outcomes) -> None:
    rows = {s: outcomes.steps[s]["record"]["rows"] for s in ("main", "text", "text in parts", "counted")}
    assert rows["main"] == {"read": 900, "scored": 890, "quarantined": 10}
    assert rows["text"] == rows["text in parts"] == {"read": 902, "scored": 890, "quarantined": 12}
    assert rows["counted"] == {"read": 900, "scored": 897, "quarantined": 3}
    for table, count in (("predictions", 890), ("quarantine", 10)):
        folder = outcomes.site.root(outcomes.name) / table
        assert sum(pq.read_metadata(f).num_rows for f in folder.rglob("*.parquet")) == count


def test_the_quarantine_has_the_values_and_the_reasons(outcomes: Outcomes) -> None:
    found = outcomes.table("quarantine").sort_values("id").reset_index(drop=True)
    rows = outcomes.site.frame.loc[[0, 1, 2, 10, 11, 12, 13, 14, 20, 21]].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[["id", "a", "b", "region"]], rows, check_dtype=False)
    between = "expect_column_values_to_be_between"
    reasons = [["required(a)"]] * 3 + [[f"{between}(a)"]] * 5 + [[f"{between}(prediction)"]] * 2
    assert [list(r) for r in found["reasons"]] == reasons
    assert found["stage"].tolist() == ["input"] * 8 + ["output"] * 2
    assert {s.rpartition("/")[2] for s in found["source_file"]} == {"part-0.parquet"}


@pytest.mark.parametrize("step", ["text", "text-in-parts"])
def test_records_that_are_none_are_quarantined_as_they_were_written(outcomes: Outcomes, step: str) -> None:
    found = outcomes.table("quarantine", step)
    raw = found[found["stage"] == "read"]
    assert sorted(raw["raw_record"]) == ["1,2,3,4,5,6", "7,eight,9,north"]
    assert {r for reasons in raw["reasons"] for r in reasons} == {"malformed_record"}


def test_the_model_sees_each_row_exactly_once(outcomes: Outcomes) -> None:
    notes = outcomes.site.home / outcomes.name / "notes"
    seen = Counter((notes / "rows").read_text().split())
    reached = outcomes.site.frame[outcomes.site.frame["a"].notna()]["b"]
    runs = 2
    assert seen == Counter({repr(float(b)): runs * n for b, n in Counter(reached).items()})
    for step in ("counted", "counted again"):
        assert outcomes.steps[step]["record"]["spark"]["num_inferences"] == len(reached)


def test_a_worker_loads_the_model_once_for_two_runs(outcomes: Outcomes) -> None:
    loads = (outcomes.site.home / outcomes.name / "notes" / "loads").read_text().split()
    assert len(loads) == len(set(loads)) >= 1
    told = [outcomes.steps[s]["record"]["spark"]["model_loads"] for s in ("counted", "counted again")]
    assert sum(told) == len(loads)


def test_a_dry_run_writes_nothing_and_finds_nothing_wrong(outcomes: Outcomes) -> None:
    dry = outcomes.steps["dry run"]
    assert (dry["code"], dry["record"]["status"], dry["files"]) == (0, "dry_run", {})


def test_the_same_date_again_does_nothing_and_forced_it_writes_the_same(outcomes: Outcomes) -> None:
    main, again, forced = (outcomes.steps[s] for s in ("main", "again", "forced"))
    assert (again["code"], again["record"]["status"]) == (0, "already_published")
    assert again["files"] == main["files"]
    assert forced["record"]["status"] == "published"
    assert {f.partition("/")[0] for f in main["files"]} == set(TABLES)
    assert forced["rows"] == main["rows"]
    if (
        outcomes.name != "cluster"
    ):  # into how many files depends on the executors that are there when it plans
        assert forced["files"] == main["files"]


FAILURES = {
    "alerted": (10, ""),
    "blocked": (11, "drift"),
    "dirty": (65, r"30.00% of 100 rows were quarantined"),
    "absent": (66, "nothing to read"),
    "corrupt": (66, "part-0.parquet"),
    "raising": (70, "more than I can take"),
    "misfit": (78, "column 'c' is missing"),
    "broken suite": (78, "expect_column_values_to_match_regex"),
    "unsteady slice": (78, "change from one time to the next"),
    "unknown slice": (78, "colour"),
}


@pytest.mark.parametrize("step", FAILURES)
def test_a_run_that_cannot_be_published_ends_with_its_code_and_leaves_nothing_half_done(
    outcomes: Outcomes, step: str
) -> None:
    code, words = FAILURES[step]
    found = outcomes.steps[step]
    assert found["code"] == code, found
    assert found["work"] == []
    if code == 10:
        assert found["record"]["status"] == "published"
        assert found["record"]["drift"]["status"] == "drift"
        return
    assert words in found["message"], found["message"]
    assert "\tat " not in found["message"]
    assert found["hint"]
    assert found["files"] == {}


def test_a_refused_quarantine_is_kept(outcomes: Outcomes) -> None:
    kept = pd.read_parquet(outcomes.steps["dirty"]["record"]["paths"]["quarantine"])
    assert [list(r) for r in kept["reasons"]] == [["required(a)"]] * 30


def test_core_seconds_are_told_or_known_to_be_unknown(outcomes: Outcomes) -> None:
    spent = outcomes.steps["main"]["record"]["core_seconds"]
    assert spent is None if outcomes.name == "connect" else spent > 0


def test_labels_are_joined_with_what_was_published(outcomes: Outcomes) -> None:
    found = outcomes.steps["evaluated"]
    known = set(expected(outcomes.site)["id"]) & set(outcomes.site.frame[::2]["id"])
    assert found["rows"]["labelled"] == len(known)
    assert found["figures"]["mean_average_error"] == pytest.approx(1.0)
    assert set(found["skipped"]) == {"b > 0"}


def test_the_session_is_left_as_it_was(outcomes: Outcomes) -> None:
    before, after = outcomes.platform["settings_left"]
    assert before == after
    assert outcomes.platform["usable"] == [0, 1, 2]


@pytest.mark.parametrize("platform", PLATFORMS[1:])
def test_all_platforms_publish_the_same(outcomes_of: Any, platform: str) -> None:
    local, other = outcomes_of("local"), outcomes_of(platform)
    for step in ("main", "counted", "text", "text-in-parts"):
        for table, leave_out in (
            ("predictions", ["run_id", "model_id"]),
            ("quarantine", ["run_id", "model_id"]),
        ):
            columns = [c for c in local.table(table, step).columns if c not in leave_out]
            assert in_order(other.table(table, step), *columns) == in_order(
                local.table(table, step), *columns
            )
    for table in ("profile_metrics", "drift_metrics"):
        one, two = (pq.read_table(o.site.root(o.name) / table).to_pylist() for o in (local, other))
        assert sorted(rounded(two), key=str) == sorted(rounded(one), key=str)
    said = ("checks", "quarantined_by", "drift", "predictions")
    one, two = ({k: rounded(o.steps["main"]["record"][k]) for k in said} for o in (local, other))
    assert two == one


def rounded(value: Any) -> Any:
    """With all numbers to nine digits: platforms cut an input in their own ways, and sums round by the cut."""
    value = plain(value)
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return f"{value:.9g}" if isinstance(value, float) else str(value)
