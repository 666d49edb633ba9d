"""What has to hold before anything is published, and what a run is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql.types import StructType

from pipelines import gates, ledger, profiles, references, storage
from pipelines.attempt import Attempt
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, DataRefused, DriftBlocked, InputUnavailable, InvariantBroken
from pipelines.one_pass import Measured
from pipelines.records import InputFile, ModelColumn, ResolvedModel, RunRecord
from pipelines.scoring import WorkerState
from pipelines.source import SourceTable

FILES = (InputFile("in/a.csv", 10, 0), InputFile("in/b.csv", 10, 0))
TRAIN = pd.DataFrame({"a": np.arange(200.0), "b": ["x", "y"] * 100})
MANY = pd.DataFrame({"a": np.arange(20_000.0), "b": ["x", "y"] * 10_000})
INPUTS = (ModelColumn("a", "double"), ModelColumn("b", "string"))


def attempt(**sections: Any) -> Attempt:
    tree = {
        "name": "toy",
        "model": {"uri": "m"},
        "source": {"format": "csv", "path": "in"},
        "run_date": "2026-11-22",
    }
    return Attempt(Config.model_validate({**tree, **sections}), lambda: datetime(2026, 11, 22, tzinfo=UTC))


def model(baseline: Mapping[str, Any] | None = None) -> ResolvedModel:
    return ResolvedModel(
        name="m", version="1", alias=None, uri="m", digest="d", flavor="sklearn", inputs=INPUTS,
        outputs=(ModelColumn("prediction", "double"),), payload=b"", baseline=baseline,
    )  # fmt: skip


# --- every row is accounted for ---


def account(read: int, in_workers: int, own_count: int | None, scored: int, quarantined: int) -> Attempt:
    tried = attempt()
    table = SourceTable(None, StructType(), FILES, own_count, ())  # type: ignore[arg-type]
    measured = Measured(read, WorkerState(rows=in_workers), {}, {}, {}, {})
    gates.accounted(table, measured, {"predictions": scored, "quarantine": quarantined}, tried)
    return tried


@pytest.mark.parametrize("own_count", [None, 10])
def test_counts_that_agree_go_into_the_record(own_count: int | None) -> None:
    assert account(10, 10, own_count, 7, 3).facts["rows"] == {"read": 10, "scored": 7, "quarantined": 3}


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        ((11, 10, None, 7, 3), "rows read: 11"),
        ((10, 9, None, 7, 3), "rows in the workers: 9"),
        ((10, 10, 12, 7, 3), "files' own count: 12"),
        (
            (0, 0, 25, 0, 0),
            "files' own count: 25",
        ),  # a footer that promises rows, and a reader that finds none
        ((10, 10, 10, 7, 2), r"7 scored \+ 2 quarantined = 9"),
    ],
)
def test_a_row_too_few_or_too_many_anywhere_ends_the_run(counts: tuple[Any, ...], complaint: str) -> None:
    with pytest.raises(InvariantBroken, match=complaint):
        account(*counts)


@pytest.mark.parametrize("own_count", [None, 0])
def test_an_input_without_rows_is_unavailable(own_count: int | None) -> None:
    with pytest.raises(InputUnavailable, match=r"'in' has 2 file\(s\) but no rows"):
        account(0, 0, own_count, 0, 0)


# --- the quarantine limit ---


def quarantined(rows: int, of: int, limit: float) -> Attempt:
    tried = attempt(quality={"max_quarantined": limit})
    tried.facts["rows"] = {"read": of, "scored": of - rows, "quarantined": rows}
    tried.facts["quarantined_by"] = {"few": 1, "most": 9, "some": 5, "fewest": 0}
    gates.quarantine(tried)
    return tried


@pytest.mark.parametrize(("rows", "of", "limit"), [(0, 10, 0.0), (1, 100, 0.01), (10, 10, 1.0), (0, 0, 0.0)])
def test_up_to_the_limit_rows_may_be_quarantined(rows: int, of: int, limit: float) -> None:
    assert quarantined(rows, of, limit).facts["checks"] == {"max_quarantined": limit}


@pytest.mark.parametrize(("rows", "of", "limit"), [(1, 10, 0.0), (2, 100, 0.01), (11, 1000, 0.01)])
def test_above_the_limit_the_data_are_refused_naming_the_worst_rules(
    rows: int, of: int, limit: float
) -> None:
    with pytest.raises(DataRefused, match=r"most by most \(9\), some \(5\), few \(1\)"):
        quarantined(rows, of, limit)


# --- drift ---


@pytest.mark.parametrize(
    ("on_drift", "status", "stops"),
    [("block", "drift", True), ("block", "ok", False), ("block", "none", False), ("alert", "drift", False),
     ("warn", "drift", False)],
)  # fmt: skip
def test_only_drift_that_is_to_block_does(on_drift: str, status: str, stops: bool) -> None:
    tried = attempt(drift={"on_drift": on_drift})
    tried.facts["drift"] = {"status": status, "columns": ["a", "b"]}
    if stops:
        with pytest.raises(DriftBlocked, match=r"drift in 2 column\(s\): a, b"):
            gates.blocked(tried)
    else:
        gates.blocked(tried)


def test_without_a_reference_there_is_no_drift_and_no_claim_of_health() -> None:
    tried = attempt()
    assert gates.drift(tried, None, None, None) == ()
    assert tried.facts["drift"] == {"status": "none", "columns": [], "reference": "model"}


def test_a_column_that_moved_is_named_and_one_that_did_not_is_not() -> None:
    reference = profiles.load_baseline(profiles.baseline_from_pandas(TRAIN))
    moved = profiles.TableProfile.empty(profiles.specs_from(reference))
    moved.update({"a": TRAIN["a"] + 500, "b": TRAIN["b"]})
    tried = attempt(drift={"dataset_share": 0.5})
    gates.drift(tried, reference, None, moved)
    distances = tried.facts["drift"].pop("distances")
    assert tried.facts["drift"] == {"status": "drift", "columns": ["a"], "judged": 2, "reference": "model"}
    assert distances["a"]["js_distance"] > 0.9
    assert distances["b"]["js_distance"] < 0.1


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"columns": [], "decided_by": "volume_ratio"}, r"drift in the number of rows\."),
        (
            {"columns": ["a"], "decided_by": "quarantined"},
            r"in the share of quarantined rows and in 1 column\(s\): a",
        ),
    ],
)
def test_a_table_that_drifts_as_a_whole_is_blocked_with_the_reason(found: dict[str, Any], words: str) -> None:
    tried = attempt(drift={"on_drift": "block"})
    tried.facts["drift"] = {"status": "drift", **found}
    with pytest.raises(DriftBlocked, match=words):
        gates.blocked(tried)


def windows(*columns: str) -> tuple[profiles.TableProfile, references.Previous, profiles.TableProfile]:
    """A baseline, a previous run whose ``a`` lay 50,000 higher, and a run like the baseline; of the given columns."""
    baseline = profiles.load_baseline(profiles.baseline_from_pandas(MANY[list(columns)]))
    earlier, now = (profiles.TableProfile.empty(profiles.specs_from(baseline)) for _ in range(2))
    earlier.update({"a": MANY["a"] + 50_000, "b": MANY["b"]})
    now.update({"a": MANY["a"], "b": MANY["b"]})
    return baseline, (date(2026, 11, 21), profiles.freeze(earlier)), now


def test_the_previous_run_is_compared_with_as_well_and_decides_nothing() -> None:
    baseline, earlier, now = windows("a", "b")
    tried = attempt(drift={"on_drift": "block"})
    findings = gates.drift(tried, baseline, earlier, now)
    verdicts = [(f.drift_type, f.column_name, f.verdict) for f in findings]
    assert verdicts == [
        ("BASELINE", ":table", "ok"), ("BASELINE", "a", "ok"), ("BASELINE", "b", "ok"),
        ("CONSECUTIVE", ":table", "drift"), ("CONSECUTIVE", "a", "drift"), ("CONSECUTIVE", "b", "ok"),
    ]  # fmt: skip
    drift = tried.facts["drift"]
    assert (drift["status"], drift["columns"]) == ("ok", [])
    assert drift["previous"] == {"run_date": "2026-11-21", "status": "drift", "columns": ["a"]}
    assert drift["distances"]["a"]["verdict"] == "ok"
    gates.blocked(tried)


def test_where_the_previous_run_is_the_reference_it_is_compared_with_once() -> None:
    _, earlier, now = windows("a", "b")
    tried = attempt(drift={"baseline": "previous"})
    findings = gates.drift(tried, earlier[1], earlier, now)
    assert [f.drift_type for f in findings] == ["CONSECUTIVE"] * 3
    assert (tried.facts["drift"]["status"], tried.facts["drift"]["previous"]) == (
        "drift",
        {"run_date": "2026-11-21"},
    )


def test_without_a_baseline_the_previous_run_is_still_told_of() -> None:
    _, earlier, now = windows("a", "b")
    tried = attempt()
    findings = gates.drift(tried, None, earlier, now)
    assert {f.drift_type for f in findings} == {"CONSECUTIVE"}
    assert (tried.facts["drift"]["status"], tried.facts["drift"]["previous"]["status"]) == ("none", "drift")


@pytest.mark.parametrize(
    ("threshold", "status", "by"), [(None, "ok", None), (0.6, "ok", None), (0.5, "drift", "volume_ratio")]
)
def test_half_the_rows_are_a_drift_where_the_volume_has_a_limit(
    threshold: float | None, status: str, by: str | None
) -> None:
    _, (day, before), now = windows("a", "b")
    before = profiles.freeze(now)
    before.facts, now.facts = profiles.TableFacts(400), profiles.TableFacts(200)
    tried = attempt(drift={"baseline": "previous", "thresholds": {"volume": threshold}})
    gates.drift(tried, before, (day, before), now)
    assert (tried.facts["drift"]["status"], tried.facts["drift"].get("decided_by")) == (status, by)


# --- on which bins a column is counted ---


def test_a_column_is_counted_on_the_bins_of_the_baseline_else_of_the_previous_run() -> None:
    baseline, (day, _), _ = windows("a")
    of_both = profiles.load_baseline(profiles.baseline_from_pandas(MANY + MANY))
    specs = references.specs(baseline, (day, of_both), model(), attempt().config)
    assert specs[:2] == (baseline.columns["a"].spec, of_both.columns["b"].spec)
    assert [s.frozen for s in specs] == [True, True, False]  # neither has seen a prediction


def test_a_column_of_another_kind_than_the_baseline_is_counted_freely_and_drifts() -> None:
    baseline = profiles.load_baseline(profiles.baseline_from_pandas(MANY.assign(a="text")))
    specs = references.specs(baseline, None, model(), attempt().config)
    assert [(s.name, s.kind, s.frozen) for s in specs[:2]] == [
        ("a", "numeric", False),
        ("b", "categorical", True),
    ]
    now = profiles.TableProfile.empty(specs)
    now.update({"a": MANY["a"], "b": MANY["b"]})
    _, a, b, _ = gates.drift(attempt(), baseline, None, now)
    assert (a.verdict, a.statistic, b.verdict) == ("drift", "data_type", "ok")


# --- what a run is compared with ---


def reference(
    baseline: str, root: Path, of: ResolvedModel | None = None, **source: Any
) -> tuple[Any, list[str]]:
    warnings: list[str] = []
    config = attempt(drift={"baseline": baseline}, source={"format": "csv", "path": "in", **source}).config
    earlier = references.previous(config, root)
    return references.reference(config, of or model(), earlier, warnings.append), warnings


def test_none_is_a_choice_and_gives_no_warning(tmp_path: Path) -> None:
    assert reference("none", tmp_path) == (None, [])


@pytest.mark.parametrize(
    ("baseline", "words"), [("model", "carries no baseline"), ("previous", "no earlier published")]
)
def test_a_reference_that_is_not_there_yet_is_a_warning(tmp_path: Path, baseline: str, words: str) -> None:
    found, (warning,) = reference(baseline, tmp_path)
    assert found is None
    assert words in warning


def test_the_models_own_baseline_is_the_default(tmp_path: Path) -> None:
    found, warnings = reference("model", tmp_path, model(profiles.baseline_from_pandas(TRAIN)))
    assert ([s.name for s in profiles.specs_from(found)], warnings) == (["a", "b"], [])


def test_previous_is_the_published_run_of_the_latest_earlier_date(tmp_path: Path) -> None:
    for n, day in enumerate(("2026-11-20", "2026-11-21", "2026-11-23")):
        run = RunRecord(
            name="toy",
            run_id=f"r{n}",
            run_date=day,
            status="published",
            exit_code=0,
            started_at=f"2026-11-24T0{n}",
        )
        state = profiles.load_baseline(profiles.baseline_from_pandas(TRAIN.head(10 + n)))
        ledger.write(tmp_path, run)
        storage.replace(ledger.profile_path(tmp_path, day, run.run_id), state.to_bytes())
    found, warnings = reference("previous", tmp_path)
    assert (found.rows, warnings) == (11, [])


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_reference_data_are_profiled_under_the_models_names(tmp_path: Path, kind: str) -> None:
    data, path = TRAIN.rename(columns={"a": "A (mm)"}).assign(other=1), tmp_path / f"ref.{kind}"
    data.to_csv(path, index=False) if kind == "csv" else data.to_parquet(path)
    found, _ = reference(str(path), tmp_path, columns={"a": "A (mm)"})
    assert [s.name for s in profiles.specs_from(found)] == ["a", "b"]


def test_reference_data_that_cannot_be_read_are_a_fault_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "ref.parquet").write_text("no Parquet")
    for path in ("ref.parquet", "nowhere"):
        with pytest.raises(ConfigInvalid, match=r"drift\.baseline: cannot read reference data"):
            reference(str(tmp_path / path), tmp_path)
