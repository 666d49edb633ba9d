"""What a run measures of drift beside its columns: slices, the table as a whole, and the previous run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines import run_batch
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, SinkUnwritable
from pipelines.profiles import baseline_from_pandas
from pipelines.records import RunRecord
from tests.model_factory import save, signature

ENGINES = ("udf", "scan")
DAYS = ("2026-11-20", "2026-11-21")
SLICES = ["region", "a > 0"]


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests to import


class Halves:
    """Class 1 with the probability ``p``; raises where that is below zero."""

    classes_ = np.array([0, 1])

    def predict(self, frame: pd.DataFrame) -> Any:
        return (frame["p"].to_numpy() > 0.5).astype(np.int64)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        p = frame["p"].to_numpy()
        if (p < 0).any():
            raise ValueError("no probability")
        return np.column_stack([1 - p, p])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """prediction = a + 2 b, with a baseline that has slices."""
    from sklearn.linear_model import LinearRegression

    from pipelines.registry import log_baseline

    train = day_of(2000, seed=7)
    features = train[["a", "b"]]
    regression = LinearRegression().fit(features, train["a"] + 2 * train["b"])
    folder = tmp_path_factory.mktemp("model") / "m"
    signed = signature({"a": "double", "b": "double"}, {"prediction": "double"})
    path = save(regression, folder, signed, "skops")
    slices = {"region": train["region"], "a > 0": train["a"] > 0}
    log_baseline(folder, baseline_from_pandas(features, regression.predict(features), slices=slices))
    return path


def day_of(rows: int, *, seed: int = 1, north: float = 0.0, missing: int = 0) -> pd.DataFrame:
    """``north`` moves ``b`` in that region alone; ``missing`` rows have no ``a``, which the model requires."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
    frame.insert(0, "id", np.arange(rows))
    frame["region"] = np.where(np.arange(rows) % 4, "south", "north")
    frame.loc[frame["region"] == "north", "b"] += north
    frame.loc[: missing - 1, "a"] = None
    return frame


def score(spark: SparkSession, home: Path, uri: str, day: str, frame: pd.DataFrame, **more: Any) -> RunRecord:
    folder = home / "in" / day
    if not folder.exists():
        folder.mkdir(parents=True)
        size = -(-len(frame) // 2)
        for part in range(2):
            frame.iloc[part * size : (part + 1) * size].to_parquet(folder / f"{part}.parquet", index=False)
    tree: dict[str, Any] = {
        "name": "toy", "run_date": day, "model": {"uri": uri}, "sink": {"path": f"{home}/out"},
        "source": {"format": "parquet", "path": str(folder), "key": ["id"]},
        "quality": {"max_quarantined": 0.5}, "tracking_uri": f"sqlite:///{home}/unused.db",
    }  # fmt: skip
    return run_batch(Config.model_validate(tree | more), spark)


def published(home: Path, table: str, day: str = DAYS[0]) -> list[dict[str, Any]]:
    return (
        pq.read_table(home / "out" / "toy" / table / f"run_date={day}").drop_columns(["run_id"]).to_pylist()
    )


def verdicts(home: Path) -> list[tuple[Any, ...]]:
    rows = published(home, "drift_metrics")
    return [
        (r["slice_key"], r["slice_value"], r["column_name"], r["verdict"], r["js_distance"]) for r in rows
    ]


def figures(rows: list[dict[str, Any]]) -> dict[Any, Any]:
    """What a profile says of each column of each slice, without what depends on the order of merging."""
    return {
        (r["slice_key"], r["slice_value"], r["column_name"]): (r["count"], r["num_nulls"], r["min"], r["max"])
        for r in rows
    }


def test_both_engines_cut_the_same_slices_and_find_the_one_that_drifted(
    spark: SparkSession, tmp_path: Path, model: str
) -> None:
    day, found, findings = day_of(4000, north=2.0, missing=10), {}, {}
    for engine in ENGINES:
        home, drift = tmp_path / engine, {"slices": SLICES, "dataset_share": 1.0}
        record = score(spark, home, model, DAYS[0], day, drift=drift, scoring={"engine": engine})
        assert record.spark["engine"] == engine
        found[engine] = figures(published(home, "profile_metrics"))
        findings[engine] = verdicts(home)
    assert found["scan"] == found["udf"]
    scored = day[day["a"].notna()]
    north = scored[scored["region"] == "north"]
    assert found["scan"]["region", "north", "b"] == (len(north), 0, north["b"].min(), north["b"].max())
    assert {k[:2] for k in found["scan"] if k[0]} == {
        ("region", "north"), ("region", "south"), ("a > 0", "true"), ("a > 0", "false")
    }  # fmt: skip
    drifted = {f[1:3] for f in findings["scan"] if f[0] == "region" and f[3] == "drift"}
    assert drifted == {("north", "b"), ("north", "prediction")}
    assert findings["scan"] == findings["udf"]


def test_a_slice_that_only_spark_can_cut_is_left_to_spark(
    spark: SparkSession, tmp_path: Path, model: str
) -> None:
    drift = {"slices": ["upper(region)"]}
    record = score(spark, tmp_path, model, DAYS[0], day_of(40), drift=drift)
    assert record.spark["engine"] == "udf"
    counts = {r["slice_value"]: r["count"] for r in published(tmp_path, "profile_metrics") if r["slice_key"]}
    assert counts == {"NORTH": 10, "SOUTH": 30}
    with pytest.raises(ConfigInvalid, match="found scan, but a slice needs Spark: Upper"):
        score(spark, tmp_path, model, DAYS[1], day_of(40), drift=drift, scoring={"engine": "scan"})


def test_an_expression_is_not_asked_of_rows_that_are_refused(
    spark: SparkSession, tmp_path: Path, model: str
) -> None:
    drift = {"slices": ["assert_true(a is not null) is null"]}  # raises where it is not
    record = score(spark, tmp_path, model, DAYS[0], day_of(40, missing=4), drift=drift)
    assert (record.spark["engine"], record.rows["quarantined"]) == ("udf", 4)
    counts = [r["count"] for r in published(tmp_path, "profile_metrics") if r["slice_value"] == "true"]
    assert set(counts) == {36}


@pytest.mark.parametrize(
    ("engine", "text", "words"),
    [
        ("udf", "regoin", "regoin.*cannot be resolved"),
        ("scan", "regoin", "regoin.*cannot be resolved"),
        ("udf", "region ==", "PARSE_SYNTAX_ERROR"),
        ("udf", "count(*)", "INVALID_WHERE_CONDITION"),
        ("udf", "row_number() over (order by a)", "window"),
        ("udf", "array(a)", "its values are array<double>"),
        ("scan", "rand() > 0.5", "change from one time to the next"),
        ("scan", "null", "its values are void"),
    ],
)
def test_what_is_no_slice_is_a_fault_of_the_configuration(
    spark: SparkSession, tmp_path: Path, model: str, engine: str, text: str, words: str
) -> None:
    drift = {"slices": ["region", text]}
    with pytest.raises(ConfigInvalid, match=rf"(?is)drift\.slices\[1\]: found .*{words}"):
        score(spark, tmp_path, model, DAYS[0], day_of(4), drift=drift, scoring={"engine": engine})


@pytest.mark.parametrize("engine", ENGINES)
def test_probabilities_are_cut_too_and_rows_without_one_do_not_shift_them(
    spark: SparkSession, tmp_path: Path, engine: str
) -> None:
    signed = signature({"p": "double"}, {"prediction": "long"})
    path = save(Halves(), tmp_path / "model", signed)
    from pipelines.registry import log_baseline

    p = np.linspace(0, 1, 400)
    half = np.where(p < 0.5, "low", "high")
    of_train = pd.DataFrame({"0": 1 - p, "1": p})
    log_baseline(
        tmp_path / "model", baseline_from_pandas(pd.DataFrame({"p": p}), of_train, slices={"half": half})
    )
    day = pd.DataFrame({"id": np.arange(400), "p": p, "half": half})
    day.loc[::20, "p"] = -1.0
    score(
        spark, tmp_path, path, DAYS[0], day, drift={"slices": ["half"]}, scoring={"engine": engine},
        model={"uri": path, "predict": "predict_proba", "allow_pickle": True},
    )  # fmt: skip
    found = figures(published(tmp_path, "profile_metrics"))
    answered = day[day["p"] >= 0]
    for name in ("low", "high"):
        part = answered.loc[answered["half"] == name, "p"]
        assert found["half", name, "probability_1"] == (len(part), 0, part.min(), part.max())


def test_the_next_run_is_compared_with_the_baseline_and_with_the_run_before_it(
    spark: SparkSession, tmp_path: Path, model: str
) -> None:
    thresholds = {"volume": 0.4, "quarantined": 0.05}
    drift = {"thresholds": thresholds, "on_drift": "block", "slices": ["region"]}
    first = score(spark, tmp_path, model, DAYS[0], day_of(4000), drift=drift)
    second = score(spark, tmp_path, model, DAYS[1], day_of(2000, seed=2, missing=200), drift=drift)
    assert (first.drift["status"], first.drift.get("previous")) == ("ok", None)
    # the model's baseline has no volume, so that only the run before can tell, which decides nothing
    assert (second.status, second.exit_code, second.drift["status"]) == ("published", 0, "ok")
    previous = {"run_date": DAYS[0], "status": "drift", "columns": [], "decided_by": "volume_ratio"}
    assert second.drift["previous"] == previous

    rows = [r for r in published(tmp_path, "drift_metrics", DAYS[1]) if r["slice_key"] is None]
    kinds = [(r["drift_type"], r["column_name"]) for r in rows]
    assert kinds == [(k, n) for k in ("BASELINE", "CONSECUTIVE") for n in (":table", "a", "b", "prediction")]
    baseline, before = (r for r in rows if r["column_name"] == ":table")
    assert (baseline["window_cmp"], before["window_cmp"]["start"].date().isoformat()) == (None, DAYS[0])
    assert (before["volume_ratio"], before["count_delta"]) == (0.5, -2000)
    assert before["quarantined"] == [
        {"rule": None, "percent": 10.0, "percent_delta": 10.0},
        {"rule": "required(a)", "percent": 10.0, "percent_delta": 10.0},
    ]
    of_slices = [r for r in published(tmp_path, "drift_metrics", DAYS[1]) if r["slice_key"]]
    assert {r["drift_type"] for r in of_slices} == {"BASELINE", "CONSECUTIVE"}

    page = Path(second.paths["report"]).read_text("utf-8")
    assert "50.0 % fewer rows than in the previous run; the limit is 40.0 %." in page
    assert "region = north" in page


def test_volume_decides_where_the_previous_run_is_the_reference(
    spark: SparkSession, tmp_path: Path, model: str
) -> None:
    drift = {"baseline": "previous", "thresholds": {"volume": 0.5}, "on_drift": "alert"}
    score(spark, tmp_path, model, DAYS[0], day_of(4000), drift=drift)
    record = score(spark, tmp_path, model, DAYS[1], day_of(2000, seed=2), drift=drift)
    assert (record.exit_code, record.drift["status"], record.drift["decided_by"]) == (
        10,
        "drift",
        "volume_ratio",
    )
    page = Path(record.paths["report"]).read_text("utf-8")
    assert "Published, drift in the number of rows" in page


def test_columns_that_came_went_or_changed_their_type_are_told(
    spark: SparkSession, tmp_path: Path, model: str
) -> None:
    day = day_of(40)
    score(spark, tmp_path, model, DAYS[0], day.assign(old=1))
    changed = day.astype({"id": "int32"}).assign(new=1)
    score(spark, tmp_path, model, DAYS[1], changed)
    rows = published(tmp_path, "drift_metrics", DAYS[1])
    (table,) = (r for r in rows if r["column_name"] == ":table" and r["drift_type"] == "CONSECUTIVE")
    told = [table[f"columns_{what}"] for what in ("added", "missing", "retyped")]
    assert told == [["new"], ["old"], ["id: bigint to int"]]


def test_what_an_attempt_has_counted_on_other_bins_is_counted_again(
    spark: SparkSession, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first attempt lies dead, the day before is published, and so becomes the reference."""
    day, drift = day_of(400), {"baseline": "previous"}

    def dies(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    for resumed in (400, 0):
        with monkeypatch.context() as broken:
            broken.setattr("pipelines.publish.collect_table", dies)
            with pytest.raises(SinkUnwritable):
                score(spark, tmp_path / str(resumed), model, DAYS[1], day, drift=drift)
        if not resumed:
            score(spark, tmp_path / "0", model, DAYS[0], day_of(400, seed=2), drift=drift)
        record = score(spark, tmp_path / str(resumed), model, DAYS[1], day, drift=drift)
        assert record.spark["resumed_rows"] == resumed
        assert record.rows["scored"] == 400
