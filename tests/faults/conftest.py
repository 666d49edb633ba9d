"""What the fault tests share: a place with a model and the seed of all chance."""

from __future__ import annotations

import os
import random
import secrets
from pathlib import Path

import pytest
from batch_factory import save_model
from places import Place
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "toy-model")


@pytest.fixture
def place(tmp_path: Path, model: Path, spark: SparkSession) -> Place:
    return Place(tmp_path, model, spark)


@pytest.fixture(scope="session")
def seed() -> int:
    """Chance is repeated by SCORELINE_SEED; each failure prints the value."""
    return int(os.environ.get("SCORELINE_SEED") or secrets.randbelow(10**6))


@pytest.fixture
def chance(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of a test's own, so that it can be repeated alone."""
    print(f"SCORELINE_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    return random.Random(f"{seed} {request.node.name}")
