"""Each run is an MLflow run; a tracking server that fails is a warning and nothing more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import tracking
from pipelines.records import DriftFinding, RunRecord

RECORD = RunRecord(
    name="toy",
    run_id="r1",
    run_date="2026-11-22",
    status="published",
    exit_code=0,
    started_at="2026-11-22T01:00:00.000+00:00",
    model={"name": "toy-model", "version": "3", "alias": "champion", "digest": "d" * 64},
    inputs={"path": "data/2026-11-22", "format": "csv", "files": 2, "digest": "e" * 64},
    rows={"read": 10, "scored": 8, "quarantined": 2},
    quarantined_by={"between(a[b], \u00e9)": 2},
    seconds={"score": 1.5, "total": 2.0},
    rows_per_second=5.0,
    core_seconds=3.0,
    spark={"engine": "scan", "num_inferences": 10, "inference_request_batch_size": {"count": 2, "max": 6}},
)
DRIFT = DriftFinding(
    column_name="mean radius",
    data_type="double",
    drift_type="BASELINE",
    verdict="drift",
    statistic="js_distance",
    threshold=0.1,
    n_ref=10,
    n_cur=10,
    js_distance=0.25,
    wasserstein_distance=1.5,
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for the whole module: creating its tables is most of the time."""
    home = tmp_path_factory.mktemp("tracking")
    import mlflow

    uri = f"sqlite:///{home}/mlflow.db"
    mlflow.MlflowClient(uri).create_experiment("toy", artifact_location=f"file://{home}/artifacts")
    return uri


@pytest.fixture(scope="module")
def logged(uri: str) -> Any:
    assert tracking.log_run(RECORD, [DRIFT], "<html>the page</html>", uri) is None
    return _runs(uri)[0]


def _runs(uri: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("toy")
    return list(client.search_runs([experiment.experiment_id]))


def _artifact(uri: str, run_id: str, name: str, folder: Path) -> str:
    import mlflow.artifacts

    path = mlflow.artifacts.download_artifacts(
        run_id=run_id, artifact_path=name, dst_path=str(folder), tracking_uri=uri
    )
    return Path(path).read_text("utf-8")


def test_the_run_stands_in_the_experiment_of_the_pipeline_and_is_finished(logged: Any) -> None:
    assert (logged.info.run_name, logged.info.status) == ("2026-11-22 r1", "FINISHED")


def test_counts_timings_and_drift_are_metrics(logged: Any) -> None:
    expected = {
        "rows.read": 10.0, "rows.scored": 8.0, "rows.quarantined": 2.0, "seconds.score": 1.5,
        "rows_per_second": 5.0, "core_seconds": 3.0, "quarantined_by.between_a_b__ \u00e9_": 2.0,
        "num_inferences": 10.0, "inference_request_batch_size.max": 6.0,
        "drift.js_distance.mean radius": 0.25, "drift.wasserstein_distance.mean radius": 1.5,
    }  # fmt: skip
    assert logged.data.metrics.items() >= expected.items()
    assert "drift.population_stability_index.mean radius" not in logged.data.metrics


def test_the_exact_model_version_is_named(logged: Any) -> None:
    assert logged.data.tags.items() >= {
        "scoreline.model": "models:/toy-model/3", "scoreline.model_digest": "d" * 64, "scoreline.run_id": "r1",
    }.items()  # fmt: skip
    assert logged.data.params["model_version"] == "3"


def test_the_input_is_a_dataset_input(logged: Any) -> None:
    import mlflow.data

    found = logged.inputs.dataset_inputs[0]
    assert json.loads(found.dataset.source) == {"uri": "data/2026-11-22"}
    assert found.dataset.digest == "e" * 36
    assert mlflow.data.get_source(found).uri == "data/2026-11-22"
    assert json.loads(found.dataset.profile) == {"num_rows": 10, "files": 2, "format": "csv"}
    assert [(t.key, t.value) for t in found.tags] == [("mlflow.data.context", "scoring")]


def test_the_record_and_the_page_are_artifacts(logged: Any, uri: str, tmp_path: Path) -> None:
    assert json.loads(_artifact(uri, logged.info.run_id, "record.json", tmp_path)) == RECORD.to_dict()
    assert _artifact(uri, logged.info.run_id, "report.html", tmp_path) == "<html>the page</html>"


def test_very_long_values_and_very_many_metrics_are_logged_too(uri: str) -> None:
    record = replace(
        RECORD,
        run_id="r-long",
        inputs={"path": "p" * 3000, "format": "csv", "files": 1, "digest": ""},
        model={**RECORD.model, "uri": "u" * 9000},
        quarantined_by={f"rule {'x' * 300} {i}": i for i in range(1200)},
    )
    assert tracking.log_run(record, [], "page", uri) is None
    run = next(r for r in _runs(uri) if r.data.tags["scoreline.run_id"] == "r-long")
    assert sum(k.startswith("quarantined_by.") for k in run.data.metrics) == 1200


def test_the_metric_of_a_column_is_that_of_the_whole_table_against_what_decides(uri: str) -> None:
    others = (
        replace(DRIFT, js_distance=0.7, drift_type="CONSECUTIVE"),
        replace(DRIFT, js_distance=0.8, slice_key="region", slice_value="north"),
    )
    assert tracking.log_run(replace(RECORD, run_id="r-both"), [DRIFT, *others], "page", uri) is None
    run = next(r for r in _runs(uri) if r.data.tags["scoreline.run_id"] == "r-both")
    assert run.data.metrics["drift.js_distance.mean radius"] == 0.25


def test_a_run_that_could_not_be_logged_to_its_end_does_not_look_as_if_it_ran(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def broken(*_: Any) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(MlflowClient, "log_text", broken)
    assert "gone" in str(tracking.log_run(replace(RECORD, run_id="r-cut"), [], "page", uri))
    run = next(r for r in _runs(uri) if r.data.tags["scoreline.run_id"] == "r-cut")
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "nonsense://x", "sqlite:////dev/null/x.db"])
def test_a_store_that_fails_gives_a_warning(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    warning = tracking.log_run(RECORD, [], "page", uri)
    assert warning is not None
    assert warning.startswith("the run could not be logged to MLflow: ")
    assert "\n" not in warning
