"""Small models saved as real MLflow folders, and the one pass over tiny tables that scores with them.

The estimators below travel by value: a worker has no ``tests`` package to import them from.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from pipelines import binding, one_pass, publish, registry, scan_input, scan_pass, session, source
from pipelines.config import Config
from pipelines.passes import Measured, Pass
from pipelines.records import ResolvedModel

cloudpickle.register_pickle_by_value(sys.modules[__name__])
ENGINE = "scan"  # where it can; a module's fixture may say udf


class Sum:
    """The sum of all numbers of a row, NULL as 0."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return frame.sum(axis=1).to_numpy(np.float64)


class Echo:
    """Gives back its inputs, as they arrive."""

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame


class Describe:
    """Says for each row what arrived: dtype and value of each column, in Python's own notation."""

    def predict(self, frame: pd.DataFrame) -> list[str]:
        kinds = [f"{name}:{dtype}" for name, dtype in frame.dtypes.items()]
        values = [[None if v is pd.NA or v is pd.NaT else v for v in frame[n].tolist()] for n in frame]
        return [f"{', '.join(kinds)} | {', '.join(map(repr, row))}" for row in zip(*values, strict=True)]


class Fussy:
    """The sum, but raises on a batch in which column ``x`` holds one of ``poison``; logs the ``k`` of each call."""

    def __init__(self, poison: Sequence[float] = (), log: str | None = None) -> None:
        self.poison, self.log = tuple(poison), log

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        if self.log:
            with Path(self.log).open("a", encoding="utf-8") as file:
                file.write(" ".join(str(int(k)) for k in frame["k"]) + "\n")
        for value in self.poison:
            if (frame["x"] == value).any():
                raise ValueError(f"cannot score {value}")
        return frame.sum(axis=1).to_numpy(np.float64)


class Slow:
    """a + 2 b, after ``seconds`` for each batch."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        time.sleep(self.seconds)
        return (frame["a"] + 2 * frame["b"]).to_numpy(np.float64)


def signature(inputs: Mapping[str, str], outputs: Mapping[str | None, str]) -> Any:
    """An MLflow signature from types by name; ``long?`` is optional, ``array<long>`` an array."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    return ModelSignature(
        Schema([_spec(n, t) for n, t in inputs.items()]), Schema([_spec(n, t) for n, t in outputs.items()])
    )


def _spec(name: str | None, kind: str) -> Any:
    from mlflow.types import ColSpec

    return ColSpec(_kind(kind.removesuffix("?")), name, required=not kind.endswith("?"))


def _kind(kind: str) -> Any:
    from mlflow.types import DataType
    from mlflow.types.schema import Array

    return Array(_kind(kind[6:-1])) if kind.startswith("array<") else DataType[kind]


def save(model: Any, folder: Path, signed: Any, form: str = "cloudpickle", **options: Any) -> str:
    """Save with MLflow's sklearn flavor; returns the folder's path, which is a model URI."""
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        model,
        str(folder),
        signature=signed,
        serialization_format=form,
        pip_requirements=["scikit-learn"],
        **options,
    )
    return str(folder)


def config(uri: str, data: str, **sections: Any) -> Config:
    """A configuration for one Parquet input; sections are completed, not replaced."""
    body = {
        "name": "tiny",
        "model": {"uri": uri, "allow_pickle": True},
        "source": {"format": "parquet", "path": data, "key": ["k"]},
        "quality": {"max_quarantined": 1.0},
        "drift": {"baseline": "none"},
        "run_date": "2026-11-22",
    }
    for name, section in sections.items():
        body[name] = {**body[name], **section} if isinstance(section, dict) and name in body else section
    return Config.model_validate(body)


@dataclass(frozen=True)
class Scored:
    """What one pass wrote, as plain rows, and what it counted."""

    model: ResolvedModel
    predictions: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    measured: Measured
    types: dict[str, str]
    engine: str


def score(spark: SparkSession, wanted: Config, folder: Path, suites: Any = (None, None)) -> Scored:
    """Run the one pass as the batch does, into ``folder``; no publishing, no report."""
    with session.settings(spark, session.RUN_SETTINGS):
        session.ship_code(spark)
        model = registry.resolve(wanted.model, "sqlite:///unused.db")
        table = source.read(
            spark, wanted.source, binding.wanted_types(model.inputs, wanted.source.columns, {})
        )
        kept = (*wanted.source.key, *wanted.source.carry)
        bound = binding.bind(model.inputs, table.schema, wanted.source.columns, kept)
        the_pass = _the_pass(spark, wanted, model, table, bound, suites)
        staging = publish.open_staging(publish.Slot(folder / "sink", "2026-11-22"), "r1")
        the_pass.run(staging)
        measured, rows = the_pass.measured(staging), the_pass.collect(staging)
        tables = {t: spark.read.parquet(str(staging.table(t))) for t in rows}
        assert {t: frame.count() for t, frame in tables.items()} == rows
        return Scored(
            model,
            _rows(tables["predictions"]),
            _rows(tables["quarantine"]),
            measured,
            dict(tables["predictions"].dtypes),
            the_pass.name,
        )


def _the_pass(spark: SparkSession, wanted: Config, model: Any, table: Any, bound: Any, suites: Any) -> Pass:
    parts = (spark, wanted, model, table, bound, suites, ())
    if ENGINE == "udf":
        return one_pass.assemble(*parts)
    try:
        return scan_pass.assemble(*parts)
    except scan_input.Unsuitable:
        return one_pass.assemble(*parts)


def _rows(frame: DataFrame) -> list[dict[str, Any]]:
    return [row.asDict() for row in frame.collect()]
