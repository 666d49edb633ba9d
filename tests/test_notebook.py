"""The quick-start notebook runs as it is, from top to bottom."""

from __future__ import annotations

import runpy
from pathlib import Path

import mlflow
import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.py"


@pytest.fixture
def ran(spark, tmp_path, monkeypatch):
    monkeypatch.setenv("SCORELINE_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.syspath_prepend(str(NOTEBOOK.parents[1]))
    before = mlflow.get_tracking_uri()
    shown = []
    try:
        yield runpy.run_path(str(NOTEBOOK), {"displayHTML": shown.append}), shown
    finally:
        mlflow.set_tracking_uri(before)


def test_the_notebook_publishes_three_days_and_shows_the_page_of_the_shifted_one(ran, spark):
    names, shown = ran
    statuses = [(r.status, r.drift["status"]) for r in names["records"].values()]
    assert statuses == [("published", "ok"), ("published", "ok"), ("published", "drift")]
    assert names["predictions"].count() == sum(r.rows["scored"] for r in names["records"].values())
    assert len(shown) == 1
    assert "drift in" in shown[0]
    assert spark.range(1).count() == 1, "the session of the notebook is left running"


def test_it_is_in_databricks_source_format():
    lines = NOTEBOOK.read_text("utf-8").splitlines()
    assert lines[0] == "# Databricks notebook source"
    assert lines.count("# COMMAND ----------") >= 5
