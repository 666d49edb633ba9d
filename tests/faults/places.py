"""A place where a fault test runs the job, and what its readers find there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from batch_factory import DAY, lay_out, settings
from pyspark.sql import SparkSession

from pipelines import run_batch
from pipelines.config import Config
from pipelines.errors import ScorelineError
from pipelines.records import RunRecord


@dataclass
class Place:
    """A folder with inputs and a sink; ``run`` runs the job there, in this process."""

    home: Path
    model: Path | str
    spark: SparkSession

    @property
    def root(self) -> Path:
        return self.home / "out" / "toy"

    def tree(self, day: str = DAY, **more: Any) -> dict[str, Any]:
        """A configuration for one day; sections in ``more`` complete those that are there."""
        tree = settings(self.home, self.model, tracking_uri="nonsense://x", run_date=day)
        for name, section in more.items():
            both = isinstance(section, dict) and isinstance(tree.get(name), dict)
            tree[name] = {**tree[name], **section} if both else section
        tree["source"]["path"] = tree["source"]["path"].replace("{run_date}", day)
        return tree

    def give(self, frame: pd.DataFrame, day: str = DAY) -> Path:
        return lay_out(self.home / "in", frame, day)

    def run(self, day: str = DAY, *, force: bool = False, clock: Any = None, **more: Any) -> RunRecord:
        given = {} if clock is None else {"clock": clock}
        return run_batch(Config.model_validate(self.tree(day, **more)), self.spark, force=force, **given)

    def fails(self, code: int, match: str, day: str = DAY, **more: Any) -> RunRecord:
        """The record of a run that ends with an exit code and leaves nothing in staging."""
        with pytest.raises(ScorelineError, match=match) as caught:
            self.run(day, **more)
        assert caught.value.exit_code == code, caught.value
        assert caught.value.hint
        assert leftovers(self.root) == []
        return caught.value.record

    def table(self, name: str = "predictions", day: str = DAY) -> pd.DataFrame:
        return pd.read_parquet(self.root / name / f"run_date={day}")


def leftovers(root: Path) -> list[str]:
    """What is left in staging."""
    work = root / "_work"
    return sorted(p.name for p in work.iterdir()) if work.is_dir() else []


def published(root: Path, day: str = DAY) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """What a date's readers get: predictions and quarantine as sorted rows.

    Left out is what differs between dates and sinks by intention.
    """
    scored = pd.read_parquet(root / "predictions" / f"run_date={day}").drop(columns=["timestamp", "run_id"])
    refused = pd.read_parquet(root / "quarantine" / f"run_date={day}").drop(columns=["source_file", "run_id"])
    return _rows(scored), _rows(refused.assign(reasons=refused["reasons"].map(tuple)))


def _rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(frame.astype(str).itertuples(index=False, name=None))


@contextmanager
def interposed(module: Any, name: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something right after the first call of a step of the run."""
    real = getattr(module, name)

    def step(*args: Any, **kwargs: Any) -> Any:
        setattr(module, name, real)
        result = real(*args, **kwargs)
        act()
        return result

    setattr(module, name, step)
    try:
        yield
    finally:
        setattr(module, name, real)
