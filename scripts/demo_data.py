"""What the demo stands on: a registered model, and three days of input with known faults.

The rows are real: cell samples of the Wisconsin breast-cancer data (569 rows, 30 features) that ship inside
scikit-learn, drawn with a fixed seed. The first day is as the model knows it. On the second,
malformed and impossible records are planted; ``planted.json`` lists them. On the third, the microscope measures
every size a quarter too large.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MODEL = "breast-cancer"
DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
ROWS = 2000
SIZES = tuple(f"{part} {size}" for part in ("mean", "worst") for size in ("radius", "perimeter", "area"))
BETWEEN = "expect_column_values_to_be_between"


def register_model(tracking_uri: str, artifacts: Path) -> None:
    """Train, log with signature and baseline profile, register, and point ``champion`` at the version."""
    import mlflow
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from pipelines.profiles import baseline_from_pandas
    from pipelines.registry import log_baseline

    mlflow.set_tracking_uri(tracking_uri)
    features, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, labels)
    predicted = pd.DataFrame(model.predict_proba(features), columns=[str(c) for c in model.classes_])
    predicted.insert(0, "prediction", model.predict(features))

    for experiment in (f"{MODEL}-training", MODEL, f"{MODEL}-parquet"):
        mlflow.create_experiment(experiment, artifact_location=artifacts.absolute().as_uri())
    mlflow.set_experiment(f"{MODEL}-training")
    with mlflow.start_run():
        signature = mlflow.models.infer_signature(features, model.predict(features))
        info = mlflow.sklearn.log_model(
            model, name="model", signature=signature, serialization_format="skops"
        )
    log_baseline(info, baseline_from_pandas(features, predicted))
    version = mlflow.register_model(info.model_uri, MODEL)
    mlflow.MlflowClient().set_registered_model_alias(MODEL, "champion", version.version)


def lay_out(folder: Path) -> None:
    """Write three days as CSV and as Parquet below ``folder``, and what was planted."""
    from sklearn.datasets import load_breast_cancer

    features = load_breast_cancer(as_frame=True).data
    rng = np.random.default_rng(20260301)
    planted = {}
    for number, day in enumerate(DAYS):
        frame = features.iloc[rng.integers(0, len(features), ROWS)].reset_index(drop=True)
        frame.insert(0, "sample_id", 10_000_000 + number * 1_000_000 + np.arange(ROWS))
        if number == 2:
            frame[list(SIZES)] *= 1.25
        broken = _break_rules(frame) if number == 1 else {}
        _write(folder / "parquet" / day / "samples.parquet", frame)
        text = frame.to_csv(index=False)
        if number == 1:
            text, malformed = _malform(text)
            planted = {"csv": broken | malformed, "parquet": broken}
        path = folder / "csv" / day / "samples.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (folder / "planted.json").write_text(json.dumps(planted, indent=1), "utf-8")


def _write(path: Path, frame: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)


def _break_rules(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Make six rows impossible; sample_id (as text) to the reasons that must be given."""
    faults: list[tuple[int, str, Any, list[str]]] = [
        (100, "mean radius", -3.0, [f"{BETWEEN}(mean radius)"]),
        (101, "mean area", 1e6, [f"{BETWEEN}(mean area)"]),
        (
            102,
            "mean texture",
            None,
            ["required(mean texture)", "expect_column_values_to_not_be_null(mean texture)"],
        ),
        (
            103,
            "worst radius",
            0.5,
            ["expect_column_pair_values_a_to_be_greater_than_b(worst radius, mean radius)"],
        ),
        (104, "mean perimeter", 0.0, [f"{BETWEEN}(mean perimeter)"]),
        (105, "worst symmetry", None, ["required(worst symmetry)"]),
    ]
    for row, column, value, _ in faults:
        frame.loc[row, column] = value
    return {str(frame.loc[row, "sample_id"]): reasons for row, _, _, reasons in faults}


def _malform(text: str) -> tuple[str, dict[str, list[str]]]:
    """Damage four lines the way exports do; raw line to reasons."""
    lines = text.splitlines()
    lines[201] = lines[201][: len(lines[201]) // 2]  # cut off
    lines[202] = lines[202].replace(",", ",n/a,", 1)  # a value too many
    head, _, tail = lines[203].partition(",")
    lines[203] = f"{head},12,5{tail[tail.index(',') :]}"  # a decimal comma
    lines[204] = lines[204].replace(".", "O", 1)  # a letter for a dot
    return "\n".join(lines) + "\n", {lines[i]: ["malformed_record"] for i in (201, 202, 203, 204)}


def prepared(root: Path, workspace: Path, tracking_uri: str) -> list[str]:
    """Register the model and lay out its three days below ``workspace``; what to override in its configuration."""
    register_model(tracking_uri, workspace / "artifacts")
    lay_out(workspace / "data")
    return [
        f"source.path={workspace}/data/parquet/{{run_date}}",
        "source.format=parquet",
        "source.types={}",
        f"sink.path={workspace}/out",
        f"tracking_uri={tracking_uri}",
        f"quality.input={root}/conf/expectations/breast-cancer.input.json",
        f"quality.output={root}/conf/expectations/breast-cancer.output.json",
    ]
