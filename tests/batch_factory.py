"""A small real batch: a linear model in an MLflow folder, a day of Parquet, a configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

DAY = "2026-11-22"


def save_model(folder: Path, *, inputs: tuple[str, ...] = ("a", "b")) -> Path:
    """prediction = a + 2 b; any other ``inputs`` make a signature that the model does not fit."""
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from sklearn.linear_model import LinearRegression

    from pipelines.profiles import baseline_from_pandas
    from pipelines.registry import log_baseline

    train = pd.DataFrame(np.random.default_rng(7).normal(size=(500, 2)), columns=["a", "b"])
    model = LinearRegression().fit(train, train["a"] + 2 * train["b"])
    model.coef_, model.intercept_ = (
        np.array([1.0, 2.0]),
        0.0,
    )  # one rounding, so that every order of sums agrees
    signature = ModelSignature(
        Schema([ColSpec("double", name) for name in inputs]), Schema([ColSpec("double", "prediction")])
    )
    mlflow.sklearn.save_model(model, str(folder), signature=signature, serialization_format="skops")
    log_baseline(folder, baseline_from_pandas(train, model.predict(train)))
    return folder


def day_of(rows: int = 200, *, shift: float = 0.0, missing: int = 0, seed: int = 1) -> pd.DataFrame:
    """``missing`` rows have no value in ``a``, which the model requires; ``shift`` moves ``a`` and ``b``."""
    values = np.random.default_rng(seed).normal(size=(rows, 2)) + shift
    frame = pd.DataFrame(values, columns=["a", "b"])
    frame.insert(0, "id", np.arange(rows) + 2**53)
    frame.loc[: missing - 1, "a"] = None
    return frame


def lay_out(folder: Path, frame: pd.DataFrame, day: str = DAY) -> Path:
    (folder / day).mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / day / "part.parquet", index=False)
    return folder


def settings(home: Path, model: Path | str, **more: Any) -> dict[str, Any]:
    """A configuration as a tree; ``more`` replaces sections."""
    return {
        "name": "toy",
        "model": {"uri": str(model)},
        "source": {"format": "parquet", "path": f"{home}/in/{{run_date}}", "key": ["id"]},
        "sink": {"path": f"{home}/out"},
        "tracking_uri": f"sqlite:///{home}/unused.db",
        **more,
    }


def configure(home: Path, model: Path | str, **more: Any) -> Path:
    path = home / "conf.yaml"
    path.write_text(yaml.safe_dump(settings(home, model, **more)))
    return path


def suite(folder: Path, name: str, *expectations: Mapping[str, Any]) -> str:
    """A suite as Great Expectations writes it."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"name": name, "expectations": list(expectations)}))
    return str(path)


def data_files(root: Path) -> list[Path]:
    """All files below the table roots of a pipeline."""
    tables = ("predictions", "quarantine", "profile_metrics", "drift_metrics")
    return sorted(f for t in tables for f in (root / t).rglob("*") if f.is_file())


def content(root: Path) -> dict[str, bytes]:
    """What is published, byte for byte."""
    return {str(f.relative_to(root)): f.read_bytes() for f in data_files(root)}
