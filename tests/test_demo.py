"""The demo's three days, on the real model and the real data: what the README promises of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest

from pipelines import load_config, run_batch
from scripts.demo_data import DAYS, SIZES, lay_out, register_model

ROOT = Path(__file__).parents[1]
FORMATS = ("csv", "parquet")


@pytest.fixture(scope="module")
def demo(spark, tmp_path_factory):
    """Folder of the demo, and the record of each (format, day)."""
    home = tmp_path_factory.mktemp("demo")
    before = mlflow.get_tracking_uri()
    tracking = f"sqlite:///{home}/mlflow.db"
    try:
        register_model(tracking, home / "artifacts")
    finally:
        mlflow.set_tracking_uri(before)
    lay_out(home / "data")
    records = {}
    for form in FORMATS:
        overrides = [
            f"name=demo-{form}",
            f"source.path={home}/data/{form}/{{run_date}}",
            f"source.format={form}",
            f"sink.path={home}/out",
            f"tracking_uri={tracking}",
            f"quality.input={ROOT}/conf/expectations/breast-cancer.input.json",
            f"quality.output={ROOT}/conf/expectations/breast-cancer.output.json",
        ] + (["source.types={}"] if form == "parquet" else [])
        for day in DAYS:
            config = load_config(ROOT / "conf/breast-cancer.yaml", run_date=day, overrides=overrides)
            records[form, day] = run_batch(config, spark=spark)
    return home, records


def independent_count(home: Path, form: str, day: str) -> int:
    folder = home / "data" / form / day
    if form == "parquet":
        return ds.dataset(folder).count_rows()
    with (folder / "samples.csv").open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def table(home: Path, form: str, name: str, day: str) -> pd.DataFrame:
    return pd.read_parquet(home / "out" / f"demo-{form}" / name / f"run_date={day}")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("day", DAYS)
def test_every_row_of_the_day_is_scored_or_quarantined(demo, form, day):
    home, records = demo
    rows = records[form, day].rows
    assert rows["read"] == rows["scored"] + rows["quarantined"] == independent_count(home, form, day)
    assert rows["scored"] == len(table(home, form, "predictions", day))
    assert rows["quarantined"] == len(table(home, form, "quarantine", day))


@pytest.mark.parametrize("form", FORMATS)
def test_the_dirty_day_quarantines_exactly_what_was_planted_and_says_why(demo, form):
    home, _ = demo
    planted = json.loads((home / "data" / "planted.json").read_text("utf-8"))[form]
    found = table(home, form, "quarantine", DAYS[1])
    keys = found["raw_record"].where(found["raw_record"].notna(), found["sample_id"].astype("string"))
    reasons = dict(zip(keys, found["reasons"], strict=True))
    assert {k: sorted(v) for k, v in reasons.items()} == {k: sorted(v) for k, v in planted.items()}


@pytest.mark.parametrize("form", FORMATS)
def test_only_the_shifted_day_drifts_and_it_names_the_shifted_columns(demo, form):
    _, records = demo
    verdicts = [records[form, day].drift for day in DAYS]
    assert [v["status"] for v in verdicts] == ["ok", "ok", "drift"]
    assert [v["columns"] for v in verdicts[:2]] == [[], []]
    assert set(SIZES) <= set(verdicts[2]["columns"])
    assert not [c for c in verdicts[2]["columns"] if c not in SIZES and not c.startswith("pr")]
    assert [records[form, day].exit_code for day in DAYS] == [0, 0, 10]


@pytest.mark.parametrize("day", DAYS)
def test_predictions_are_those_of_scikit_learn_on_the_same_rows_bit_for_bit(demo, day):
    home, _ = demo
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    try:
        model = mlflow.sklearn.load_model("models:/breast-cancer@champion")
    finally:
        mlflow.set_tracking_uri(before)
    found = table(home, "parquet", "predictions", day)
    source = pd.read_parquet(home / "data" / "parquet" / day).set_index("sample_id").loc[found["sample_id"]]
    assert np.array_equal(found["prediction"], model.predict(source))
    assert np.array_equal(np.stack(found["probability"].to_list()), model.predict_proba(source))


def test_both_formats_give_the_same_predictions(demo):
    home, _ = demo
    sides = [table(home, form, "predictions", DAYS[0]).drop(columns="run_id") for form in FORMATS]
    pd.testing.assert_frame_equal(*(s.sort_values("sample_id", ignore_index=True) for s in sides))
