"""Each run as an MLflow run: counts, drift and timings as metrics, the record and the page as artifacts.

What is published is published: a tracking server that fails leaves a warning, never another exit code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipelines import storage
from pipelines.records import DriftFinding, RunRecord

_BATCH = 1000  # metrics that one request may hold
_LONGEST = 190  # of the 250 characters MLflow allows, the prefix takes some
_NOT_IN_A_METRIC_NAME = re.compile(r"[^\w\-. :/]")


def log_run(record: RunRecord, drift: Sequence[DriftFinding], page: str, tracking_uri: str) -> str | None:
    """Log a run into the experiment of the pipeline's name; returns a warning, or None.

    Args:
        page: the HTML page of the run.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    try:
        _log(record, drift, page, tracking_uri)
    except Exception as error:  # MLflow raises its own, requests', SQLAlchemy's and the stores' errors
        first = (str(error).splitlines() or [""])[0][:200]
        return f"the run could not be logged to MLflow: {type(error).__name__}: {first}"
    return None


def log_quality(record: RunRecord, figures: Mapping[str, float], page: str, tracking_uri: str) -> str | None:
    """Add how good the predictions were to the MLflow run of a published run; returns a warning, or None.

    Args:
        record: with its ``quality``.
        figures: logged as ``quality.NAME``; a later evaluation adds its values, of which MLflow shows the newest.
        page: the HTML page of the run, which replaces the one that is there; empty where it is not known.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    try:
        return _log_quality(record, figures, page, tracking_uri)
    except Exception as error:  # MLflow raises its own, requests', SQLAlchemy's and the stores' errors
        first = (str(error).splitlines() or [""])[0][:200]
        return f"the quality could not be logged to MLflow: {type(error).__name__}: {first}"


def _log_quality(record: RunRecord, figures: Mapping[str, float], page: str, tracking_uri: str) -> str | None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name(record.name)
    wanted = f"tags.`scoreline.run_id` = '{record.run_id}' and tags.`scoreline.status` = 'published'"
    runs = client.search_runs([experiment.experiment_id], wanted, max_results=1) if experiment else []
    if not runs:
        return f"MLflow has no run of {record.run_id}: the quality was not logged there"
    run_id = runs[0].info.run_id
    for name, value in figures.items():
        client.log_metric(run_id, f"quality.{name}", value)
    client.log_dict(run_id, record.to_dict(), "record.json")
    if page:
        client.log_text(run_id, page, "report.html")
    return None


def _log(record: RunRecord, drift: Sequence[DriftFinding], page: str, tracking_uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name(record.name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(record.name)
    run = client.create_run(experiment_id, run_name=f"{record.run_date} {record.run_id}", tags=_tags(record))
    try:
        _fill(client, run.info, record, drift, page)
    except Exception:
        with suppress(Exception):  # the first error is the one to tell
            client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id, "FINISHED" if record.exit_code in (0, 10) else "FAILED")


def _fill(client: Any, run: Any, record: RunRecord, drift: Sequence[DriftFinding], page: str) -> None:
    from mlflow.entities import DatasetInput, InputTag, Metric, Param

    metrics = [Metric(k, v, run.start_time, 0) for k, v in _metrics(record, drift).items()]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run.run_id, metrics[start : start + _BATCH])
    client.log_batch(run.run_id, params=[Param(k, str(v)) for k, v in _params(record).items()])
    client.log_inputs(
        run.run_id, [DatasetInput(_dataset(record), [InputTag("mlflow.data.context", "scoring")])]
    )
    client.log_dict(run.run_id, record.to_dict(), "record.json")
    client.log_text(run.run_id, page, "report.html")


def _dataset(record: RunRecord) -> Any:
    from mlflow.entities import Dataset

    path = record.inputs.get("path", "input")
    kind = path.partition("://")[0] if storage.is_remote(path) else "local"
    return Dataset(
        name=path[-500:],  # MLflow's limit; the end of a path tells more than its beginning
        digest=record.inputs.get("digest", "")[:36],
        source_type=kind,  # as mlflow.data.get_source knows it
        source=json.dumps({"uri": path}),
        profile=json.dumps(
            {
                "num_rows": record.rows.get("read", 0),
                "files": record.inputs.get("files", 0),
                "format": record.inputs.get("format"),
            }
        ),
    )


def _tags(record: RunRecord) -> dict[str, str]:
    model = record.model
    return {
        "scoreline.run_id": record.run_id,
        "scoreline.run_date": record.run_date,
        "scoreline.status": record.status,
        "scoreline.model": f"models:/{model.get('name')}/{model.get('version')}",
        "scoreline.model_digest": str(model.get("digest")),
        "mlflow.note.content": f"{record.status}: {dict(record.rows)}",
    }


def _params(record: RunRecord) -> Mapping[str, Any]:
    return {
        "run_date": record.run_date,
        **{f"model_{k}": v for k, v in record.model.items() if v is not None},
    }


def _metrics(record: RunRecord, drift: Sequence[DriftFinding]) -> dict[str, float]:
    metrics: dict[str, float] = {f"rows.{k}": float(v) for k, v in record.rows.items()}
    metrics |= {f"seconds.{k}": float(v) for k, v in record.seconds.items()}
    metrics |= {f"quarantined_by.{_clean(k)}": float(v) for k, v in record.quarantined_by.items()}
    for key in ("rows_per_second", "core_seconds", "peak_worker_rss_mb"):
        if (value := getattr(record, key)) is not None:
            metrics[key] = float(value)
    for key, value in record.spark.items():  # the names are Beam's, where they mean the same
        spread = value if isinstance(value, Mapping) else {"": value}
        numbers = {k: v for k, v in spread.items() if isinstance(v, (int, float))}
        metrics |= {f"{key}.{k}".rstrip("."): float(v) for k, v in numbers.items()}
    for finding in (f for f in drift if f.slice_key is None):
        for statistic in ("js_distance", "wasserstein_distance", "population_stability_index"):
            value = getattr(finding, statistic)
            if value is not None:
                # of a column with several findings the first counts, as in the record
                metrics.setdefault(f"drift.{statistic}.{_clean(finding.column_name)}", float(value))
    return metrics


def _clean(name: str) -> str:
    """A name that MLflow takes; a long one is cut and keeps a digest, so that two do not become one."""
    clean = _NOT_IN_A_METRIC_NAME.sub("_", name)
    return (
        clean
        if len(clean) <= _LONGEST
        else clean[:_LONGEST] + "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    )
