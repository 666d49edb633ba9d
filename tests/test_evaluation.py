"""Labels that come later: joined by key, the newest wins, every row accounted for, and scikit-learn's figures."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession
from report_factory import Page
from sklearn import datasets, metrics
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jobs import evaluate as job
from pipelines import labels, publish, quality_counts, quality_metrics, report, run_batch
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, DataRefused, InputUnavailable, RunActive, ScorelineError
from pipelines.evaluation import Evaluation, evaluate
from pipelines.labelled import Request
from pipelines.quality_metrics import QUALITY_METRICS, Counts, Errors, Ranks
from pipelines.records import RunRecord

DAY = "2026-11-22"
NOWHERE = "nowhere://of-no-use"  # a tracking server that answers nothing, at once
SLICES = ("site", "`mean radius` > 14")  # the predictions have no radius: the second cannot be cut


class Published:
    """A date that was scored and published: its configuration, its predictions, and the truth by key."""

    def __init__(self, config: Config, record: RunRecord, truth: pd.Series) -> None:
        self.config, self.record, self.truth = config, record, truth
        self.root = Path(config.sink.path) / config.name

    @property
    def predictions(self) -> pd.DataFrame:
        return pd.read_parquet(self.root / "predictions").set_index("id")

    def table(self) -> list[dict[str, Any]]:
        return pq.read_table(self.root / "quality_metrics").to_pylist()

    def copied(self, folder: Path, **changes: Any) -> Published:
        """The same run in a sink of its own, so that a test may change it."""
        apart = shutil.ignore_patterns("quality_metrics")
        shutil.copytree(self.root, folder / "out" / self.config.name, ignore=apart)
        sink = self.config.sink.model_copy(update={"path": str(folder / "out")})
        config = self.config.model_copy(update={"sink": sink, "tracking_uri": NOWHERE, **changes})
        return Published(config, self.record, self.truth)


def published(home: Path, spark: SparkSession, name: str, model: Any, data: Any, predict: str) -> Published:
    from mlflow.models import infer_signature

    features, truth = data.data, data.target
    frame = features.assign(
        id=np.arange(len(features)) + 2**53, site=np.where(np.arange(len(features)) % 3, "a", "b")
    )
    (home / name / DAY).mkdir(parents=True)
    frame.to_parquet(home / name / DAY / "part.parquet")
    half = len(features) // 2
    fitted = model.fit(features[:half], truth[:half])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # integers as a signature
        mlflow.sklearn.save_model(
            fitted,
            str(home / f"{name}-model"),
            signature=infer_signature(features, fitted.predict(features[:5])),
            serialization_format="skops",
            pip_requirements=["scikit-learn"],
        )
    config = Config.model_validate(
        {
            "name": name,
            "model": {"uri": str(home / f"{name}-model"), "predict": predict},
            "source": {
                "format": "parquet",
                "path": str(home / name / DAY),
                "key": ["id"],
                "carry": ["site"],
            },
            "drift": {"baseline": "none", "slices": list(SLICES) if name == "cancer" else ["site"]},
            "sink": {"path": str(home / "out")},
            "tracking_uri": f"sqlite:///{home}/mlflow.db" if name == "cancer" else NOWHERE,
            "run_date": DAY,
        }
    )
    return Published(
        config, run_batch(config, spark), pd.Series(truth.to_numpy(), index=frame["id"], name="label")
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labels")


@pytest.fixture(scope="module")
def cancer(home: Path, spark: SparkSession) -> Published:
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return published(
        home, spark, "cancer", model, datasets.load_breast_cancer(as_frame=True), "predict_proba"
    )


@pytest.fixture(scope="module")
def diabetes(home: Path, spark: SparkSession) -> Published:
    data = datasets.load_diabetes(as_frame=True)
    return published(home, spark, "diabetes", LinearRegression(), data, "predict")


def deliver(path: Path, said: pd.Series | pd.DataFrame, moment: int = 1) -> Path:
    """A delivery: a CSV or Parquet file by its name, its modification time ``moment`` seconds after the epoch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = said.reset_index()
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    os.utime(path, (moment, moment))
    return path


@pytest.fixture(scope="module")
def evaluated(cancer: Published, home: Path, spark: SparkSession) -> Evaluation:
    labels = deliver(home / "cancer-labels" / "first.csv", cancer.truth)
    return evaluate(cancer.config, Request(str(labels)), spark)


def joined(run: Published, labels: pd.Series, **slice_of: str) -> tuple[Any, Any, Any]:
    """Label, prediction and probability of the second class, by pandas."""
    both = run.predictions.join(labels, how="inner")
    for column, value in slice_of.items():
        both = both[both[column] == value]
    positive = np.stack(both["probability"].to_list())[:, 1] if "probability" in both else None
    return both["label"].to_numpy(), both["prediction"].to_numpy(), positive


@pytest.mark.parametrize("part", [{}, {"site": "a"}, {"site": "b"}])
def test_the_figures_of_a_classification_are_those_of_scikit_learn(
    cancer: Published, evaluated: Evaluation, part: dict[str, str]
) -> None:
    labels, predicted, positive = joined(cancer, cancer.truth, **part)
    value = part.get("site")
    row = next(r for r in cancer.table() if r["slice_value"] == value)
    assert row["slice_key"] == ("site" if part else None)
    assert row["count"] == len(labels)
    assert row["accuracy_score"] == metrics.accuracy_score(labels, predicted)
    for position, name in enumerate(("precision", "recall", "f1_score")):
        for average in ("macro", "weighted"):
            wanted = metrics.precision_recall_fscore_support(labels, predicted, average=average)
            assert row[name][average] == wanted[position]
        each = metrics.precision_recall_fscore_support(labels, predicted)[position]
        assert row[name]["one_vs_all"] == [("0", each[0]), ("1", each[1])]
    cells = {(c["label"], c["prediction"]): c["count"] for c in row["confusion_matrix"]}
    matrix = metrics.confusion_matrix(labels, predicted)
    assert cells == {(str(i), str(j)): n for (i, j), n in np.ndenumerate(matrix) if n}
    assert row["log_loss"] == pytest.approx(metrics.log_loss(labels, positive), rel=1e-12)
    area = pytest.approx(metrics.roc_auc_score(labels, positive), rel=1e-12)
    assert (row["roc_auc_score"]["macro"], row["roc_auc_score"]["weighted"]) == (area, area)
    assert row["mean_squared_error"] is None


def test_calibration_is_the_distance_of_confidence_and_share_in_ten_bins(
    cancer: Published, evaluated: Evaluation
) -> None:
    labels, _, positive = joined(cancer, cancer.truth)
    bins = np.clip(np.ceil(positive * 10).astype(int) - 1, 0, 9)
    off = sum(abs(positive[bins == b].sum() - labels[bins == b].sum()) for b in range(10))
    row = cancer.table()[0]
    assert row["expected_calibration_error"] == pytest.approx(off / len(labels), rel=1e-12)
    assert {round(b["lower"] * 10): b["count"] for b in row["calibration"]} == {
        int(b): int(n) for b, n in zip(*np.unique(bins, return_counts=True), strict=True)
    }


def test_the_figures_of_a_regression_are_those_of_scikit_learn(
    diabetes: Published, home: Path, spark: SparkSession
) -> None:
    labels = deliver(home / "diabetes-labels.parquet", diabetes.truth)
    found = evaluate(diabetes.config, Request(str(labels)), spark)
    assert found.problem_type == "regression"
    for row in diabetes.table():
        truth, predicted, _ = joined(
            diabetes, diabetes.truth, **({"site": row["slice_value"]} if row["slice_key"] else {})
        )
        wanted = {
            "mean_squared_error": metrics.mean_squared_error(truth, predicted),
            "root_mean_squared_error": metrics.root_mean_squared_error(truth, predicted),
            "mean_average_error": metrics.mean_absolute_error(truth, predicted),
            "mean_absolute_percentage_error": metrics.mean_absolute_percentage_error(truth, predicted),
            "r2_score": metrics.r2_score(truth, predicted),
        }
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=1e-12)
        assert (row["accuracy_score"], row["confusion_matrix"]) == (None, None)
    assert len(diabetes.table()) == 3


def test_the_table_says_window_model_and_slices_as_inference_profiles_do(
    cancer: Published, evaluated: Evaluation
) -> None:
    table = pq.read_table(
        cancer.root / "quality_metrics" / f"run_date={DAY}" / f"run_id={cancer.record.run_id}"
    )
    assert table.schema.names == [*QUALITY_METRICS.names, "run_date", "run_id"][: len(table.schema.names)]
    row = cancer.table()[0]
    assert row["window"]["start"].isoformat() == f"{DAY}T00:00:00+00:00"
    assert (row["log_type"], row["granularity"], row["column_name"]) == ("INPUT", "1 day", ":table")
    assert row["model_id"] == evaluated.model_id
    assert [(r["slice_key"], r["slice_value"]) for r in cancer.table()] == [
        (None, None),
        ("site", "a"),
        ("site", "b"),
    ]


def test_a_slice_by_what_the_predictions_do_not_have_is_skipped_and_told(evaluated: Evaluation) -> None:
    assert list(evaluated.skipped) == ["`mean radius` > 14"]
    assert "source.carry" in evaluated.skipped["`mean radius` > 14"]
    assert evaluated.slices == 2


def test_the_page_the_index_the_ledger_and_mlflow_tell_the_quality(
    cancer: Published, evaluated: Evaluation, home: Path
) -> None:
    page = Path(cancer.record.paths["report"]).read_text()
    assert page.count('id="quality"') == 1
    assert Page(page).misnested == []
    assert f"569 of {len(cancer.truth)} predictions have a label" in page
    assert "% right" in (cancer.root / "reports" / "index.html").read_text()
    client = mlflow.MlflowClient(cancer.config.tracking)
    experiment = client.get_experiment_by_name("cancer")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["quality.accuracy_score"] == evaluated.figures["accuracy_score"]
    assert run.data.metrics["quality.labelled"] == 569


def test_every_row_is_accounted_for(cancer: Published, tmp_path: Path, spark: SparkSession) -> None:
    run = cancer.copied(tmp_path)
    keys = cancer.truth.index
    text = cancer.truth.astype(str)
    deliver(tmp_path / "in" / "a.csv", text[:100], 1)
    deliver(tmp_path / "in" / "b.csv", text[90:110], 2)  # 10 again
    deliver(
        tmp_path / "in" / "c.parquet", pd.Series(["0"] * 5, pd.Index(range(5), name="id"), name="label"), 3
    )
    odd = pd.Series(["", "maybe", "1.0", "0", "1"], keys[[200, 201, 202, 203, 203]], name="label")
    deliver(tmp_path / "in" / "d.csv", odd, 4)
    (tmp_path / "in" / "e.csv").write_text(f"label,id\n1,\n1,what\n1,{keys[300]},surplus\n")
    (tmp_path / "in" / "_SUCCESS").write_text("")
    found = evaluate(run.config, Request(str(tmp_path / "in")), spark)
    assert found.labels == {
        "read": 133,
        "malformed": 1,
        "without_key": 2,
        "superseded": 11,
        "without_prediction": 5,
        "empty": 1,
        "unreadable": 1,
        "used": 112,
    }
    assert found.rows == {"predictions": 569, "labelled": 112, "unlabelled": 457}
    assert found.conflicting == 1
    assert any("several labels in one delivery" in text for text in found.warnings)
    assert any(
        "could not be logged to MLflow" in text for text in found.warnings
    )  # and nothing else came of it
    assert found.exit_code == 0


def flipped(labels: pd.Series) -> pd.Series:
    return 1 - labels


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (None, {1: "b", 2: "c", 3: "a", 4: "odd", 5: None, 6: "a"}),
        ("at", {1: "a", 2: "c", 3: "a", 4: "b", 5: "b", 6: "a"}),
    ],
    ids=["the last delivery", "by label time"],
)
def test_the_newest_label_of_a_key_counts(
    tmp_path: Path, spark: SparkSession, time: str | None, expected: dict[int, str | None]
) -> None:
    deliveries: dict[str, tuple[int, list[tuple[Any, str | None, str]]]] = {
        "z.csv": (1, [(1, "a", "2026-02-01"), (2, "a", "2026-01-01"), (3, "a", "2026-01-01")]),
        "a.parquet": (2, [(1, "b", "2026-01-01"), (4, "b", "2026-02-01T00:00:01Z"), (5, "b", "2026-01-02")]),
        "b.csv": (2, [("2.0", "c", "2026-01-02"), ("4", "c", "2026-01-31"), ("6", "a", "2026-01-01")]),
        "c+ %20[x].csv": (3, [("4", "odd", "2026-02-01"), ("5", None, "2026-01-01")]),
    }
    for name, (moment, rows) in deliveries.items():
        frame = pd.DataFrame(rows, columns=["id", "label", "at"])
        deliver(tmp_path / name, frame.set_index("id"), moment)
    files = labels.list_deliveries(str(tmp_path))
    rows = labels.read(spark, files, labels.Wanted({"id": "bigint"}, time=time))
    found = labels.newest(rows, 1).collect()
    assert {r[labels.key_name(0)]: r[labels.LABEL] for r in found} == expected
    assert {r[labels.key_name(0)]: r[labels.ROWS] for r in found} == {1: 2, 2: 2, 3: 1, 4: 3, 5: 2, 6: 1}


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("bigint", ["1", "1.0", "9007199254740993", "1.5", "true", " 7 ", "x", "1e400", None],
         [1, 1, 2**53 + 1, None, 1, 7, None, None, None]),
        ("int", ["3000000000", "-1"], [None, -1]),
        ("string", ["007", " a", ""], ["007", " a", ""]),
        ("boolean", ["true", "False", "1", "maybe"], [True, False, True, None]),
        ("double", ["1e3", "x", "0.1"], [1000.0, None, 0.1]),
    ],
)  # fmt: skip
def test_text_becomes_a_key_or_a_label_only_where_nothing_is_lost(
    spark: SparkSession, kind: str, values: list[str | None], expected: list[Any]
) -> None:
    frame = spark.createDataFrame([(i, v) for i, v in enumerate(values)], "i int, v string")
    typed = frame.select("i", labels.as_type(frame["v"], "string", kind).alias("v"))
    assert [r["v"] for r in sorted(typed.collect())] == expected


def test_more_labels_and_corrections_replace_what_was_written_at_one_instant(
    cancer: Published, tmp_path: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, labels = cancer.copied(tmp_path), cancer.predictions["prediction"].rename("label")
    kept = spark._jsc.getPersistentRDDs().size()
    before = {p: p.read_bytes() for t in publish.TABLES for p in (run.root / t).rglob("*.parquet")}
    deliver(tmp_path / "in" / "a.csv", labels[:40], 1)
    evaluate(run.config, Request(str(tmp_path / "in")), spark)
    deliver(tmp_path / "in" / "b.csv", flipped(labels)[30:60], 2)
    counts = []
    swap = publish.derived.swap
    monkeypatch.setattr(
        publish.derived, "swap", lambda *a: (counts.append(run.table()[0]["count"]), swap(*a))
    )
    evaluate(run.config, Request(str(tmp_path / "in")), spark)
    assert (counts, run.table()[0]["count"], run.table()[0]["accuracy_score"]) == ([40], 60, 0.5)
    page = next((run.root / "reports").glob("run_date=*/*.html")).read_text()
    assert (page.count('id="quality"'), "60 of 569 predictions" in page, "40 of 569" in page) == (
        1,
        True,
        False,
    )
    assert [p.name for p in (run.root / "quality_metrics").rglob("*") if p.is_file()] == [
        "part-00000.parquet"
    ]
    assert {p: p.read_bytes() for t in publish.TABLES for p in (run.root / t).rglob("*.parquet")} == before
    assert not list((run.root / "_work").iterdir())
    assert spark._jsc.getPersistentRDDs().size() == kept  # nothing more stays on the executors' disks


@pytest.mark.parametrize("sensitive", [(), ("id",)])
def test_predictions_whose_key_repeats_are_refused_and_sensitive_keys_are_masked(
    cancer: Published, tmp_path: Path, spark: SparkSession, sensitive: tuple[str, ...]
) -> None:
    quality = cancer.config.quality.model_copy(update={"sensitive": sensitive})
    run = cancer.copied(tmp_path, quality=quality)
    (part, *_) = (run.root / "predictions").rglob("*.parquet")
    shutil.copy(part, part.with_name("again.parquet"))
    labels = deliver(tmp_path / "a.csv", cancer.truth)
    with pytest.raises(DataRefused, match="keys stand for several rows") as refused:
        evaluate(run.config, Request(str(labels)), spark)
    assert (str(2**53)[:12] in str(refused.value), "***" in str(refused.value)) == (
        not sensitive,
        bool(sensitive),
    )
    assert not (run.root / "quality_metrics").exists()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"labels": "nowhere"}, InputUnavailable, "nothing to read"),
        ({"labels": "other.csv"}, InputUnavailable, "none of 3 row"),
        ({"run_date": "2026-11-23"}, InputUnavailable, "nothing is published"),
        ({"name": "unknown"}, InputUnavailable, "nothing is published"),
        ({"key": ()}, ConfigInvalid, "source.key"),
        ({"key": ("id", "batch")}, ConfigInvalid, "expected batch"),
        ({"label": "outcome"}, ConfigInvalid, "expected outcome as well"),
        ({"labels": "notes.txt"}, ConfigInvalid, "expected names that end in"),
        ({"prediction": "array<double>"}, ConfigInvalid, "expected one value per row"),
        ({"prediction": "string", "problem": "regression"}, ConfigInvalid, "expected numbers"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_a_next_step(
    cancer: Published,
    tmp_path: Path,
    spark: SparkSession,
    change: dict[str, Any],
    error: type[ScorelineError],
    said: str,
) -> None:
    deliver(tmp_path / "good.csv", cancer.truth)
    deliver(tmp_path / "other.csv", pd.Series([1, 1, 0], pd.Index([1, 2, 3], name="id"), name="label"))
    (tmp_path / "notes.txt").write_text("hello")
    config = cancer.config
    if "key" in change:
        config = config.model_copy(update={"source": config.source.model_copy(update={"key": change["key"]})})
    update = {k: v for k, v in change.items() if k == "name"}
    if "run_date" in change:
        update["run_date"] = pd.Timestamp(change["run_date"]).date()
    request = Request(
        str(tmp_path / change.get("labels", "good.csv")),
        change.get("label", "label"),
        problem=change.get("problem"),
    )
    if kind := change.get("prediction"):
        run = cancer.copied(tmp_path)
        config = run.config
        (part,) = (run.root / "predictions").rglob("*.parquet")
        column = pa.array([None], pa.list_(pa.float64()) if kind.startswith("array") else pa.string())
        pq.write_table(pa.table({"id": pa.array([1], pa.int64()), "prediction": column}), part)
    with pytest.raises(error, match=said) as refused:
        evaluate(config.model_copy(update=update), request, spark)
    assert refused.value.hint


def test_a_date_that_a_run_is_writing_is_left_alone(
    cancer: Published, tmp_path: Path, spark: SparkSession
) -> None:
    run = cancer.copied(tmp_path)
    labels = deliver(tmp_path / "a.csv", cancer.truth)
    with publish.lock(publish.slot(run.config.sink.path, "cancer", DAY)), pytest.raises(RunActive):
        evaluate(run.config, Request(str(labels)), spark)


# --- probabilities of several classes, without a run


def three_classes(spark: SparkSession, rows: int = 300, scale: float = 1.0) -> tuple[Any, Any, Any, Any]:
    random = np.random.default_rng(3)
    probabilities = np.round(random.dirichlet([scale] * 3, rows), 2)
    probabilities[:, 2] = np.abs(
        1 - probabilities[:, 0] - probabilities[:, 1]
    )  # rounded, so that there are ties
    names = np.array(["bird", "cat", "dog"])
    predicted = names[probabilities.argmax(axis=1)]
    labels = np.where(random.random(rows) < 0.6, predicted, names[random.integers(0, 3, rows)])
    frame = pd.DataFrame({"prediction": predicted, "label": labels, "probability": probabilities.tolist()})
    return spark.createDataFrame(frame), names, labels, probabilities


def test_several_classes_are_each_ranked_against_the_rest(spark: SparkSession) -> None:
    frame, names, labels, probabilities = three_classes(spark)
    cut = frame.withColumn("slices", quality_counts.slice_column([]))
    classes, why = quality_counts.classes_of(frame, frame.select("label"), ())
    assert (classes, why) == (tuple(names), None)
    (counts,) = quality_counts.of_classes(cut, classes)
    row = quality_metrics.classification(counts)
    for average in ("macro", "weighted"):
        wanted = metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average=average)
        assert row["roc_auc_score"][average] == pytest.approx(wanted, rel=1e-12)
    wanted = metrics.log_loss(labels, probabilities, labels=list(names))
    assert row["log_loss"] == pytest.approx(wanted, rel=1e-12)
    right = names[probabilities.argmax(axis=1)] == labels
    confidence = probabilities.max(axis=1)
    bins = np.clip(np.ceil(confidence * 10) - 1, 0, 9)
    off = sum(abs(confidence[bins == b].sum() - right[bins == b].sum()) for b in range(10))
    assert row["expected_calibration_error"] == pytest.approx(off / len(labels), rel=1e-9)


@pytest.mark.parametrize(
    ("predicted", "labels", "given", "classes", "said"),
    [
        ([("a", [0.9, 0.1]), ("b", [0.1, 0.9])], ["a", "b"], (), ("a", "b"), None),
        ([("b", [0.9, 0.1]), ("a", [0.1, 0.9])], ["a", "b"], (), ("b", "a"), None),
        ([("b", [0.1, 0.9])], ["a"], (), ("a", "b"), None),
        ([("b", [0.1, 0.9, 0.0])], ["a"], (), None, "found 2 classes for 3"),
        ([("b", [0.1, 0.9, 0.0])], ["a"], ("a", "b", "c"), ("a", "b", "c"), None),
        ([("b", [0.1, 0.9, 0.0])], ["a"], ("b", "a", "c"), None, "not in the order"),
        ([("a", [0.9, 0.1]), ("b", [0.8, 0.2])], ["a"], (), None, "not the most probable"),
    ],
    ids=[
        "sorted",
        "in another order",
        "one never predicted",
        "one never seen",
        "given",
        "given wrongly",
        "no argmax",
    ],
)
def test_which_class_a_probability_belongs_to_is_known_or_said_to_be_unknown(
    spark: SparkSession, predicted: Any, labels: Any, given: Any, classes: Any, said: str | None
) -> None:
    frame = spark.createDataFrame(predicted, "prediction string, probability array<double>")
    found, why = quality_counts.classes_of(
        frame, spark.createDataFrame([(v,) for v in labels], "label string"), given
    )
    assert found == classes
    assert (why is None) if said is None else (said in str(why))


def test_a_label_that_is_no_class_of_the_model_leaves_no_loss_but_ranks(spark: SparkSession) -> None:
    rows = [("a", "a", [0.9, 0.1]), ("b", "b", [0.2, 0.8]), ("b", "new", [0.4, 0.6])]
    frame = spark.createDataFrame(rows, "prediction string, label string, probability array<double>")
    cut = frame.withColumn("slices", quality_counts.slice_column([]))
    (counts,) = quality_counts.of_classes(cut, ("a", "b"))
    assert counts.loss is None
    assert counts.ranks["b"] == Ranks(positives=1, negatives=2, twice_u=4)


# --- rules on counts alone


@pytest.mark.parametrize(
    ("errors", "rows", "r2"),
    [
        (Errors(0.0, 0.0, 0.0, 0.0), 3, 1.0),
        (Errors(3.0, 3.0, 1.0, 0.0), 3, 0.0),
        (Errors(1.0, 1.0, 1.0, 4.0), 1, None),
        (Errors(1.0, 2.0, 1.0, 4.0), 4, 0.75),
    ],
    ids=["constant and right", "constant and wrong", "one row", "a quarter unexplained"],
)
def test_r2_of_few_or_equal_labels_is_scikit_learns(errors: Errors, rows: int, r2: float | None) -> None:
    assert quality_metrics.regression(Counts(rows=rows, errors=errors))["r2_score"] == r2


def test_a_class_that_all_rows_have_has_no_area() -> None:
    counts = Counts(rows=2, confusion={("a", "a"): 2}, ranks={"a": Ranks(2, 0, 0), "b": Ranks(0, 2, 0)})
    assert quality_metrics.classification(counts)["roc_auc_score"] is None


def test_what_data_say_stands_on_the_page_as_text(cancer: Published, evaluated: Evaluation) -> None:
    rows = cancer.table()
    rows[1]["slice_value"] = "<script>alert(1)</script><!-- /quality -->"
    quality = {"rows": evaluated.rows, "labels": {}, "evaluated_at": "now", "figures": {}, "skipped": {}}
    page = report.with_quality("<main></main>", replace(cancer.record, quality=quality), rows)
    again = report.with_quality(page, replace(cancer.record, quality=quality), rows)
    assert ("<script>" in page, page) == (False, again)


# --- the command


@pytest.fixture
def command(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    def call(*arguments: str) -> dict[str, Any]:
        """The one line that the command writes."""
        import io

        line = io.StringIO()
        done = CliRunner().invoke(job.command, list(arguments), obj=line, standalone_mode=False)
        assert done.exception is None, done.exception
        (text,) = line.getvalue().splitlines()
        return json.loads(text)

    return call


def test_the_command_writes_one_line(
    cancer: Published, tmp_path: Path, command: Callable[..., dict[str, Any]]
) -> None:
    run = cancer.copied(tmp_path)
    body = run.config.model_dump(mode="json", exclude={"run_date"}, exclude_none=True)
    (tmp_path / "conf.yaml").write_text(json.dumps(body))
    labels = deliver(tmp_path / "a.csv", cancer.truth.rename("outcome"))
    given = ("--config", str(tmp_path / "conf.yaml"), "--run-date", DAY)
    said = command(*given, "--labels", str(labels), "--label-column", "outcome")
    assert (said["status"], said["exit_code"], said["rows"]["labelled"]) == ("evaluated", 0, 569)
    assert Path(said["paths"]["quality_metrics"]).is_dir()
    missing = command(*given, "--labels", str(tmp_path / "nowhere"))
    assert (missing["status"], missing["exit_code"], missing["error"]["class"]) == (
        "failed",
        66,
        "InputUnavailable",
    )
    wrong = command(*given[:2], "--run-date", "22.11.2026", "--labels", str(labels))
    assert wrong["exit_code"] == 64
    unset = command(*given, "--labels", str(labels), "--set", "source.kye=[id]")
    assert unset["exit_code"] == 78
