"""A whole run in this process: what is published, what is refused, and what is left when something fails."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from batch_factory import DAY, content, data_files, day_of, lay_out, save_model, settings, suite
from pyspark.sql import SparkSession

from pipelines import ledger, outcome, publish, run_batch
from pipelines.config import Config
from pipelines.errors import (
    ConfigInvalid,
    DataRefused,
    DriftBlocked,
    InputUnavailable,
    ModelFailed,
    ModelUnavailable,
    RunActive,
    ScorelineError,
    SinkUnwritable,
    Stopped,
)
from pipelines.records import RunRecord

SECONDS = count()


def clock() -> datetime:
    """Goes on a second each time it is asked."""
    return datetime(2026, 11, 23, 3, 0, tzinfo=UTC) + timedelta(seconds=next(SECONDS))


@dataclass
class World:
    """A model, a tracking store and a fresh folder; ``run`` runs the job there."""

    home: Path
    model: Path
    store: str
    spark: SparkSession

    @property
    def root(self) -> Path:
        return self.home / "out" / "toy"

    def config(self, day: str = DAY, **more: Any) -> Config:
        tree = settings(self.home, self.model, tracking_uri=self.store)
        return Config.model_validate({**tree, "run_date": day, **more} | self._dated(tree, more, day))

    def _dated(self, tree: dict[str, Any], more: dict[str, Any], day: str) -> dict[str, Any]:
        source = {**tree["source"], **more.get("source", {})}
        return {"source": {**source, "path": source["path"].replace("{run_date}", day)}}

    def give(self, frame: pd.DataFrame, day: str = DAY) -> None:
        lay_out(self.home / "in", frame, day)

    def run(self, day: str = DAY, *, force: bool = False, dry_run: bool = False, **more: Any) -> RunRecord:
        return run_batch(self.config(day, **more), self.spark, force=force, dry_run=dry_run, clock=clock)

    def fails(self, error: type[ScorelineError], match: str, **more: Any) -> RunRecord:
        """The record of a run that ends in ``error``; nothing of it is left in staging."""
        with pytest.raises(error, match=match) as caught:
            self.run(**more)
        assert not any((self.root / "_work").glob("*"))
        return caught.value.record

    def jobs(self) -> set[int]:
        return set(self.spark.sparkContext.statusTracker().getJobIdsForGroup("scoreline:toy"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "toy-model")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow store for the module: creating its tables takes longer than a run."""
    import mlflow

    home = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{home}/mlflow.db"
    mlflow.MlflowClient(uri).create_experiment("toy", artifact_location=f"file://{home}/artifacts")
    return uri


@pytest.fixture
def world(tmp_path: Path, model: Path, store: str, spark: SparkSession) -> World:
    return World(tmp_path, model, store, spark)


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, model: Path, store: str, spark: SparkSession
) -> tuple[World, RunRecord, pd.DataFrame]:
    """One clean run, looked at by many tests that change nothing."""
    world, frame = World(tmp_path_factory.mktemp("done"), model, store, spark), day_of(200, missing=1)
    world.give(frame)
    return world, world.run(), frame


Done = tuple[World, RunRecord, pd.DataFrame]


# --- a published run ---


def test_predictions_are_the_models_own_bit_for_bit(done: Done) -> None:
    world, _, frame = done
    from mlflow.sklearn import load_model

    good = frame[frame["a"].notna()]
    expected = load_model(str(world.model)).predict(good[["a", "b"]])
    assert expected.tolist() == (good["a"] + 2 * good["b"]).tolist()
    found = pd.read_parquet(world.root / "predictions").sort_values("id")
    assert found["id"].tolist() == good["id"].tolist()
    assert found["prediction"].to_numpy().tobytes() == np.ascontiguousarray(expected).tobytes()


def test_every_row_read_is_scored_or_quarantined_and_the_record_counts_the_files(done: Done) -> None:
    world, record, frame = done
    assert record.rows == {"read": len(frame), "scored": 199, "quarantined": 1}
    for table, rows in (("predictions", 199), ("quarantine", 1)):
        assert sum(pq.read_metadata(f).num_rows for f in (world.root / table).rglob("*.parquet")) == rows


def test_a_quarantined_row_keeps_its_values_and_says_why(done: Done) -> None:
    world, record, frame = done
    (row,) = pd.read_parquet(world.root / "quarantine").to_dict("records")
    assert (row["id"], row["b"], row["stage"]) == (frame["id"][0], frame["b"][0], "input")
    assert np.isnan(row["a"])
    assert list(row["reasons"]) == ["required(a)"]
    assert record.quarantined_by == {"required(a)": 1}


def test_only_parquet_files_are_below_the_table_roots(done: Done) -> None:
    world, _, _ = done
    files = data_files(world.root)
    assert {f.suffix for f in files} == {".parquet"}
    assert {f.relative_to(world.root).parts[1] for f in files} == {f"run_date={DAY}"}
    assert {f.relative_to(world.root).parts[0] for f in files} == set(publish.TABLES)


READERS: dict[str, Callable[[str, SparkSession], list[int]]] = {
    "pandas": lambda path, _: pd.read_parquet(path)["id"].tolist(),
    "pyarrow": lambda path, _: pq.read_table(path)["id"].to_pylist(),
    "pyarrow.dataset": lambda path, _: ds.dataset(path).to_table()["id"].to_pylist(),
    "spark": lambda path, spark: [r.id for r in spark.read.parquet(path).collect()],
    "duckdb": lambda path, _: [r[0] for r in duckdb.read_parquet(f"{path}/**/*.parquet")["id"].fetchall()],
    "polars": lambda path, _: pl.read_parquet(path)["id"].to_list(),
}


@pytest.mark.parametrize("reader", READERS)
def test_predictions_are_read_as_they_are_by(done: Done, reader: str) -> None:
    world, _, frame = done
    found = READERS[reader](str(world.root / "predictions"), world.spark)
    assert sorted(found) == frame["id"][1:].tolist()


def test_the_prediction_table_has_the_columns_of_the_contract(done: Done) -> None:
    world, record, _ = done
    found = pd.read_parquet(world.root / "predictions")
    assert list(found.columns) == ["id", "prediction", "model_id", "timestamp", "run_date", "run_id"]
    assert set(found["run_id"].astype(str)) == {record.run_id}
    assert set(found["model_id"]) == {f"toy-model/{record.model['version']}"}
    assert set(found["timestamp"].dt.tz_convert("UTC")) == {pd.Timestamp(DAY, tz="UTC")}  # the planned time


def test_the_record_is_what_the_ledger_holds_and_survives_json(done: Done) -> None:
    world, record, _ = done
    assert (record.status, record.exit_code, record.error) == ("published", 0, None)
    assert ledger.history(world.root)[0] == RunRecord.from_dict(json.loads(json.dumps(record.to_dict())))
    assert set(record.seconds) >= {
        "resolve",
        "start",
        "read",
        "plan",
        "score",
        "audit",
        "judge",
        "publish",
        "total",
    }
    assert re.fullmatch("r[0-9a-f]{16}", record.run_id)


def test_the_record_says_which_form_of_the_model_was_used(done: Done) -> None:
    _, record, _ = done
    assert record.spark["compiled"] == {"form": None, "reason": "LinearRegression has no faster form"}


def test_the_page_and_the_index_are_where_the_record_says(done: Done) -> None:
    world, record, _ = done
    page = Path(record.paths["report"])
    assert record.run_id in page.read_text("utf-8")
    index = (world.root / "reports" / "index.html").read_text("utf-8")
    assert str(page.relative_to(world.root / "reports")) in index


def test_the_run_is_an_mlflow_run_with_the_record_attached(done: Done) -> None:
    world, record, _ = done
    from mlflow import MlflowClient

    client = MlflowClient(world.store)
    experiment = client.get_experiment_by_name("toy")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`scoreline.run_id` = '{record.run_id}'")
    assert run.data.metrics["rows.scored"] == 199
    assert {f.path for f in client.list_artifacts(run.info.run_id)} == {"record.json", "report.html"}


def test_a_second_run_does_nothing_at_all(done: Done) -> None:
    world, record, _ = done
    before, jobs = content(world.root), world.jobs()
    again = world.run()
    assert (again.status, again.exit_code) == ("already_published", 0)
    assert (again.run_id, again.rows, again.paths) == (record.run_id, record.rows, record.paths)
    assert (content(world.root), world.jobs()) == (before, jobs)


def test_a_dry_run_checks_everything_and_writes_nothing(world: World) -> None:
    world.give(day_of())
    record = world.run(dry_run=True)
    assert (record.status, record.exit_code) == ("dry_run", 0)
    assert record.model["name"] == "toy-model"
    assert not (world.home / "out").exists()


def test_a_dry_run_finds_what_a_run_would_trip_over(world: World) -> None:
    world.give(day_of().rename(columns={"b": "B2"}))
    with pytest.raises(ConfigInvalid, match="column 'b' is missing; near: 'B2'"):
        world.run(dry_run=True)
    assert not (world.home / "out").exists()


# --- what decides ---


def test_force_supersedes_and_the_old_run_is_gone(world: World) -> None:
    world.give(day_of(50))
    first = world.run()
    world.give(day_of(60))
    second = world.run(force=True)
    assert second.run_id != first.run_id
    found = pd.read_parquet(world.root / "predictions")
    assert (len(found), set(found["run_id"].astype(str))) == (60, {second.run_id})


def test_alert_publishes_and_exits_10(world: World) -> None:
    world.give(day_of(300, shift=5))
    record = world.run(drift={"on_drift": "alert"})
    assert (record.status, record.exit_code, record.drift["status"]) == ("published", 10, "drift")
    assert set(record.drift["columns"]) == {"a", "b", "prediction"}
    assert len(pd.read_parquet(world.root / "predictions")) == 300


def test_block_publishes_nothing_and_exits_11(world: World) -> None:
    world.give(day_of(300, shift=5))
    record = world.fails(DriftBlocked, "drift in 3 column", drift={"on_drift": "block"})
    assert (record.status, record.exit_code) == ("blocked", 11)
    assert data_files(world.root) == []
    assert "drift" in Path(record.paths["report"]).read_text("utf-8").lower()


def test_above_the_quarantine_limit_nothing_is_published_and_the_quarantine_is_kept(world: World) -> None:
    world.give(day_of(100))
    world.run()
    before = content(world.root)
    world.give(day_of(100, missing=40))
    record = world.fails(DataRefused, r"40.00% of 100 rows.*required\(a\) \(40\)", force=True)
    assert (record.status, record.exit_code) == ("refused", 65)
    assert record.rows == {"read": 100, "scored": 60, "quarantined": 40}
    assert content(world.root) == before
    kept = Path(record.paths["quarantine"])
    assert kept.parent.parent.name == "refused"
    assert len(pd.read_parquet(kept)) == 40
    assert world.run().status == "already_published"


def expectation(kind: str, severity: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "severity": severity, "kwargs": kwargs}


def test_critical_rows_go_to_quarantine_warnings_are_counted_and_aggregates_judge_the_run(
    world: World,
) -> None:
    frame = day_of(100)
    frame["a"] = np.linspace(-1, 1, 100)  # 5 above 0.9, 25 below -0.5
    world.give(frame)
    rules = [
        expectation("expect_column_values_to_be_between", "critical", column="a", max_value=0.9),
        expectation("expect_column_values_to_be_between", "warning", column="a", min_value=-0.5),
        expectation(
            "expect_column_mean_to_be_between", "critical", column="a", min_value=-0.1, max_value=0.1
        ),
        expectation("expect_table_row_count_to_be_between", "warning", min_value=1000),
    ]
    after = [expectation("expect_column_values_to_not_be_null", "critical", column="prediction")]
    quality = {
        "input": suite(world.home, "in", *rules), "output": suite(world.home, "out", *after), "max_quarantined": 0.2,
    }  # fmt: skip
    record = world.run(quality=quality)
    high = int((frame["a"] > 0.9).sum())
    assert record.rows == {"read": 100, "scored": 100 - high, "quarantined": high}
    assert list(record.quarantined_by.values()) == [high]
    assert record.checks["input"]["evaluated"] == 4
    assert len(record.checks["input"]["failed"]) == 3
    assert record.checks["output"]["success"] is True
    assert (record.status, record.exit_code) == ("published", 0)

    quality["input"] = suite(world.home, "in", expectation(
        "expect_column_mean_to_be_between", "critical", column="a", min_value=0.5))  # fmt: skip
    refused = world.fails(DataRefused, "expect_column_mean_to_be_between", quality=quality, force=True)
    assert (refused.exit_code, refused.checks["input"]["success"]) == (65, False)
    assert len(pd.read_parquet(world.root / "predictions")) == 100 - high


# --- what fails ---


def test_a_model_that_cannot_score_the_input_at_all_exits_70(world: World, tmp_path: Path) -> None:
    world.give(day_of(20).assign(c=1.0))
    world.model = save_model(tmp_path / "misfit", inputs=("a", "b", "c"))
    record = world.fails(ModelFailed, "feature names should match")
    assert (record.status, record.exit_code) == ("failed", 70)
    assert data_files(world.root) == []


@pytest.mark.parametrize(
    ("error", "match", "more"),
    [
        (InputUnavailable, "nothing to read at", {"source": {"path": "/nowhere/{run_date}"}}),
        (ModelUnavailable, "there is no folder", {"model": {"uri": "/nowhere"}}),
    ],
)
def test_what_is_not_there_is_found_before_any_spark(
    world: World,
    error: type[ScorelineError],
    match: str,
    more: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("Spark was started")

    world.give(day_of(5))
    monkeypatch.setattr("pipelines.batch._start", never)
    record = world.fails(error, match, **more)
    assert (record.status, record.exit_code, record.error["class"]) == (  # type: ignore[index]
        "failed", error.exit_code, error.__name__)  # fmt: skip
    assert ledger.history(world.root) == (RunRecord.from_dict(record.to_dict()),)


def test_an_input_without_rows_exits_66(world: World) -> None:
    world.give(day_of(0).astype({"id": "int64", "a": "float64", "b": "float64"}))
    assert world.fails(InputUnavailable, r"1 file\(s\) but no rows").exit_code == 66


def test_while_one_run_holds_the_date_another_exits_75(world: World) -> None:
    world.give(day_of(5))
    with publish.lock(publish.slot(str(world.home / "out"), "toy", DAY)):
        assert world.fails(RunActive, "another run").exit_code == 75


def test_of_two_runs_at_once_one_publishes_and_the_other_is_told(world: World) -> None:
    world.give(day_of(20))
    barrier, ends = threading.Barrier(2), []

    def launch() -> None:
        barrier.wait()
        try:
            ends.append(world.run().status)
        except RunActive as error:
            ends.append(type(error).__name__)

    threads = [threading.Thread(target=launch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["RunActive", "published"]
    assert len(pd.read_parquet(world.root / "predictions")) == 20


@pytest.mark.parametrize("uri", ["nonsense://x"])
def test_a_tracking_server_that_fails_leaves_a_warning_only(world: World, uri: str) -> None:
    world.give(day_of(5))
    record = world.run(tracking_uri=uri)
    assert (record.status, record.exit_code) == ("published", 0)
    assert any("could not be logged to MLflow" in w for w in record.warnings)


def test_a_page_that_fails_leaves_a_warning_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise ValueError("no page today")

    world.give(day_of(5))
    monkeypatch.setattr("pipelines.report.render_run", broken)
    record = world.run()
    assert (record.status, record.exit_code) == ("published", 0)
    assert any("no page today" in w for w in record.warnings)


def test_a_run_that_dies_between_commit_and_ledger_is_entered_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    world.give(day_of(300, shift=5))
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write", full)
        record = world.fails(SinkUnwritable, "No space left", drift={"on_drift": "alert"})
    assert (record.status, record.exit_code) == ("published", 73)  # it is visible, and the sink needs a look
    assert ledger.history(world.root) == ()
    again = world.run(drift={"on_drift": "alert"})
    assert (again.status, again.exit_code) == ("already_published", 10)  # nobody has been told yet
    assert world.run().exit_code == 0
    assert sorted(r.status for r in ledger.history(world.root)) == ["already_published"] * 2 + ["published"]


def test_an_interrupted_run_leaves_nothing_and_the_session_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleepily(batches: Any) -> Any:
        import time

        for batch in batches:
            time.sleep(60)
            yield batch

    arrived = threading.Event()

    def interrupt_once_it_writes() -> None:
        tracker = world.spark.sparkContext.statusTracker()
        while not set(tracker.getActiveJobsIds()) & world.jobs():
            pass
        while True:  # one that arrives within a finalizer is lost
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            if arrived.wait(25):
                return

    def slow(frame: Any, *rest: Any) -> None:
        thread = threading.Thread(target=interrupt_once_it_writes)
        thread.start()
        try:
            real(frame.mapInArrow(sleepily, frame.schema), *rest)
        finally:
            arrived.set()

    world.give(day_of(20))
    world.run("2026-11-22")
    before, real, jobs = content(world.root), publish.stage, world.jobs()
    monkeypatch.setattr(publish, "stage", slow)
    zone = world.spark.conf.get("spark.sql.session.timeZone")
    with pytest.raises(Stopped) as caught:
        world.run(force=True, scoring={"engine": "udf"})
    assert (caught.value.exit_code, caught.value.record.status, caught.value.record.exit_code) == (
        130,
        "failed",
        130,
    )
    assert world.jobs() > jobs
    assert content(world.root) == before
    assert not any((world.root / "_work").iterdir())
    assert world.spark.conf.get("spark.sql.session.timeZone") == zone
    monkeypatch.undo()
    assert world.run(force=True).status == "published"


def test_a_failure_after_everything_else_failed_still_tells_the_first_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> str:
        raise ValueError("no page either")

    monkeypatch.setattr(outcome, "_write_page", broken)
    record = world.fails(InputUnavailable, "nothing to read")
    assert (record.exit_code, record.error["class"]) == (66, "InputUnavailable")  # type: ignore[index]
