"""Data, models in a registry of their own, and suites; all made once and kept below build/bench."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.bench.cases import HOME, Case

FILES = 8
REGISTRY = f"sqlite:///{HOME.absolute()}/mlflow.db"
_LEVELS = np.array(["north", "east", "south", "west", "centre", "islands", "abroad", "unknown"])
_TRAINED_ON = 20_000


def names(columns: int) -> list[str]:
    return [f"x{i:03d}" for i in range(columns)]


def kinds(case: Case) -> list[str]:
    """The type of each column: doubles, or half of them doubles, a quarter each whole numbers and texts."""
    cycle = ("double", "double", "bigint", "string") if case.mixed else ("double",)
    return [cycle[i % len(cycle)] for i in range(case.columns)]


def frame(case: Case, rows: int, seed: int) -> pd.DataFrame:
    """Rows as the model is trained on and scores, without the key."""
    rng = np.random.default_rng(seed)
    make = {
        "double": lambda: rng.normal(size=rows),
        "bigint": lambda: rng.integers(0, 1000, rows),
        "string": lambda: _LEVELS[rng.integers(0, len(_LEVELS), rows)],
    }
    return pd.DataFrame({n: make[k]() for n, k in zip(names(case.columns), kinds(case), strict=True)})


def prepare(case: Case) -> None:
    """Make what is not there yet."""
    HOME.mkdir(parents=True, exist_ok=True)
    if not (case.data / "_SUCCESS").exists():
        _write(case)
    if not _suite(case, "input").exists():
        _suites(case)
    if not pickled(case).exists():
        _register(case)


def pickled(case: Case) -> Path:
    """The bare estimator, for those who score without MLflow."""
    return HOME / "models" / f"{case.registered}.pkl"


def reference(case: Case) -> Path:
    """What the model was trained on."""
    return HOME / "models" / f"{case.registered}.parquet"


def _write(case: Case) -> None:
    case.data.mkdir(parents=True, exist_ok=True)
    share = case.rows // FILES
    for part in range(FILES):
        rows = frame(case, share, seed=part + 1)
        rows.insert(0, "id", np.arange(part * share, (part + 1) * share))
        if case.form == "csv":
            rows.to_csv(case.data / f"part-{part}.csv", index=False)
        else:
            rows.to_parquet(case.data / f"part-{part}.parquet", index=False, row_group_size=250_000)
    (case.data / "_SUCCESS").touch()


def _register(case: Case) -> None:
    """Log the model with signature and baseline, register it and point the alias at it."""
    import cloudpickle  # type: ignore[import-untyped]
    import mlflow
    from mlflow.models import infer_signature

    from pipelines.profiles import baseline_from_pandas
    from pipelines.registry import log_baseline

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(REGISTRY)
    inputs = frame(case, _TRAINED_ON, seed=0)
    values = sum((inputs[c] - inputs[c].mean()) / inputs[c].std() for c in inputs.select_dtypes("number"))
    labels = (values + np.random.default_rng(0).normal(size=len(inputs)) > 0).astype("int64")
    model = estimator(case).fit(inputs, labels)
    predicted = np.asarray(model.predict(inputs))
    signature = infer_signature(inputs, predicted)
    client = mlflow.MlflowClient()
    if client.get_experiment_by_name("bench-models") is None:
        client.create_experiment("bench-models", artifact_location=f"{(HOME / 'artifacts').absolute()}")
    mlflow.set_experiment("bench-models")
    with mlflow.start_run():
        info = _log(case, model, signature)
    log_baseline(info, baseline_from_pandas(inputs, predicted))
    version = mlflow.register_model(info.model_uri, case.registered)
    client.set_registered_model_alias(case.registered, "champion", version.version)
    pickled(case).parent.mkdir(exist_ok=True)
    inputs.to_parquet(reference(case))
    pickled(case).write_bytes(cloudpickle.dumps(model))  # last: what is there is complete


def _log(case: Case, model: Any, signature: Any) -> Any:
    """With its own flavor, or with scikit-learn's where a pipeline stands before it."""
    import mlflow

    if case.model in ("lightgbm", "xgboost") and not case.mixed:
        flavor = __import__(f"mlflow.{case.model}", fromlist=["log_model"])
        pickled = {"serialization_format": "cloudpickle"} if case.model == "lightgbm" else {}
        return flavor.log_model(model, name="model", signature=signature, **pickled)
    return mlflow.sklearn.log_model(
        model, name="model", signature=signature, serialization_format="cloudpickle"
    )


def estimator(case: Case) -> Any:
    """The model of a case, not fitted."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    model = LogisticRegression() if case.model == "logistic" else _trees(case.model)
    if not case.mixed:
        return make_pipeline(StandardScaler(), model) if case.model == "logistic" else model
    columns = list(zip(names(case.columns), kinds(case), strict=True))
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = [
        ("numbers", StandardScaler(), [n for n, k in columns if k != "string"]),
        ("texts", encoder, [n for n, k in columns if k == "string"]),
    ]
    return make_pipeline(ColumnTransformer(parts), model)


def _trees(kind: str) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if kind == "forest":
        return RandomForestClassifier(100, max_depth=12, random_state=0)
    if kind == "boosting":
        return HistGradientBoostingClassifier(max_iter=100, random_state=0)
    if kind == "lightgbm":
        import lightgbm

        return lightgbm.LGBMClassifier(n_estimators=100, n_jobs=1, verbose=-1, random_state=0)
    import xgboost

    return xgboost.XGBClassifier(n_estimators=100, n_jobs=1, random_state=0)


def suites(case: Case) -> dict[str, str]:
    """The paths of both suites, as the configuration takes them."""
    return {kind: str(_suite(case, kind)) for kind in ("input", "output")}


def _suite(case: Case, kind: str) -> Path:
    return HOME / "suites" / f"{case.columns}-{case.types}.{kind}.json"


def _suites(case: Case) -> None:
    """42 expectations on inputs, 6 on outputs; all but four of them on rows."""
    inputs: list[dict[str, Any]] = []
    for name, kind in list(zip(names(case.columns), kinds(case), strict=True))[:20]:
        inputs.append(_expect("expect_column_values_to_not_be_null", column=name))
        inputs.append(_values(name, kind))
    inputs.append(_expect("expect_column_mean_to_be_between", column="x000", min_value=-1, max_value=1))
    inputs.append(_expect("expect_table_row_count_to_be_between", min_value=1))
    outputs = [
        _expect("expect_column_values_to_not_be_null", column="prediction"),
        _expect("expect_column_values_to_be_in_set", column="prediction", value_set=[0, 1]),
        _expect("expect_column_values_to_not_be_null", column="id"),
        _expect("expect_column_values_to_be_between", column="id", min_value=0),
        _expect("expect_column_mean_to_be_between", column="prediction", min_value=0.1, max_value=0.9),
        _expect("expect_column_max_to_be_between", column="prediction", min_value=1, max_value=1),
    ]
    (HOME / "suites").mkdir(exist_ok=True)
    for of, expectations in (("output", outputs), ("input", inputs)):
        _suite(case, of).write_text(
            json.dumps({"name": f"bench.{of}", "expectations": expectations}), "utf-8"
        )


def _values(name: str, kind: str) -> dict[str, Any]:
    if kind == "string":
        return _expect("expect_column_values_to_be_in_set", column=name, value_set=sorted(_LEVELS))
    low, high = (-8, 8) if kind == "double" else (0, 1000)
    return _expect("expect_column_values_to_be_between", column=name, min_value=low, max_value=high)


def _expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": "critical" if "values" in kind else "warning"}


def configuration(
    case: Case, *, suites_too: bool = True, baseline: str = "model", **more: Any
) -> dict[str, Any]:
    """The configuration of a run, as YAML would give it."""
    types = {"types": {"id": "bigint"}} if case.form == "csv" else {}
    return {
        "name": "bench",
        "model": {"uri": case.uri, "allow_pickle": True},
        "source": {"format": case.form, "path": str(case.data), "key": ["id"], **types},
        "quality": suites(case) if suites_too else {},
        "drift": {"baseline": baseline},
        "sink": {"path": str(HOME / "out")},
        "tracking_uri": REGISTRY,
        **more,
    }


def spark_schema(case: Case) -> str:
    """The input's columns for Spark's reader of CSV."""
    pairs: Sequence[tuple[str, str]] = list(zip(names(case.columns), kinds(case), strict=True))
    return ", ".join(["id bigint", *(f"{n} {k}" for n, k in pairs)])


def machine(cores: int) -> str:
    """What the figures were measured on."""
    import platform

    said = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return f"{said}, {cores} of them used"
