"""A big input that Spark reads is scored part by part, and what is scored stays scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines import part_pass, run_batch
from pipelines.config import Config
from pipelines.errors import DataRefused
from pipelines.part_pass import cut, part_id
from pipelines.records import InputFile
from tests.batch_factory import DAY, day_of, save_model, settings, suite

files = st.lists(st.integers(0, 3 << 30), min_size=1, max_size=30).map(
    lambda sizes: [InputFile(f"f{i}", size, i) for i, size in enumerate(sizes)]
)


@given(files, st.integers(1, 8))
def test_parts_hold_every_file_once_and_only_the_last_may_be_small(
    found: list[InputFile], cores: int
) -> None:
    parts = cut(found, cores)
    assert [f for part in parts for f in part] == found
    assert all(sum(f.size for f in part) >= part_pass.PART_BYTES * cores for part in parts[:-1])
    assert len({part_id(part) for part in parts}) == len(parts)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m")


def lay_out(home: Path, form: str) -> None:
    folder = home / "in" / DAY
    folder.mkdir(parents=True)
    for i in range(4):
        day = day_of(50, missing=2 if i == 1 else 0, seed=i)
        day["id"] = range(50 * i, 50 * i + 50)
        if form == "csv":
            day.to_csv(folder / f"{i}.csv", index=False)
        else:
            day.to_parquet(folder / f"{i}.parquet", index=False)


def configured(home: Path, model: Path, form: str) -> Config:
    between = {"column": "a", "min_value": -2, "max_value": 2}
    rules = suite(
        home, "in",
        {"type": "expect_column_mean_to_be_between", "kwargs": between, "severity": "warning"},
        {"type": "expect_column_values_to_be_between", "kwargs": between, "severity": "warning"},
    )  # fmt: skip
    after = suite(
        home, "out",
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "prediction", "max_value": 99}},
    )  # fmt: skip
    source = {"format": form, "path": f"{home}/in/{DAY}", "key": ["id"]}
    quality = {"input": rules, "output": after, "max_quarantined": 0.5}
    tree = settings(home, model, source=source, quality=quality, scoring={"engine": "udf"})
    return Config.model_validate({**tree, "run_date": DAY})


def test_a_run_in_parts_ends_when_the_rest_cannot_save_it(
    spark: SparkSession, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path, "parquet")
    monkeypatch.setattr(part_pass, "PART_BYTES", 1)
    config = configured(tmp_path, model, "parquet")
    config = config.model_copy(
        update={"quality": config.quality.model_copy(update={"max_quarantined": 0.005})}
    )
    with pytest.raises(DataRefused, match=r"2 rows were quarantined when 100 of 200 were read") as caught:
        run_batch(config, spark)
    assert pq.read_table(caught.value.record.paths["quarantine"]).num_rows == 2


def rows(home: Path, table: str) -> list[dict[str, Any]]:
    found = pq.read_table(home / "out" / "toy" / table).drop_columns(["run_id", "run_date"]).to_pylist()
    for row in found:
        row.pop("source_file", None)
    return sorted(found, key=lambda r: r["id"])


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_run_in_parts_is_the_run_as_a_whole_and_goes_on_where_it_died(
    spark: SparkSession, tmp_path: Path, model: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = [tmp_path / "whole", tmp_path / "parts"]
    for home in homes:
        lay_out(home, form)
    whole = run_batch(configured(homes[0], model, form), spark)
    assert whole.rows == {"read": 200, "scored": 198, "quarantined": 2}

    monkeypatch.setattr(part_pass, "PART_BYTES", 1)
    scored: list[str] = []
    real = part_pass.PartPass._run_part

    def dies_at_the_last(self: Any, staging: Any, part: Any, folder: Path) -> Any:
        if len(scored) == 3:
            raise OSError(28, "No space left on device")
        account = real(self, staging, part, folder)
        scored.append(folder.name)
        return account

    monkeypatch.setattr(part_pass.PartPass, "_run_part", dies_at_the_last)
    with pytest.raises(Exception, match="No space left"):
        run_batch(configured(homes[1], model, form), spark)
    monkeypatch.setattr(part_pass.PartPass, "_run_part", real)
    record = run_batch(configured(homes[1], model, form), spark)
    assert record.spark["resumed_rows"] == 150
    assert record.rows == whole.rows
    assert record.quarantined_by == whole.quarantined_by
    assert record.checks == whole.checks
    assert [rows(homes[1], t) for t in part_pass.TABLES] == [rows(homes[0], t) for t in part_pass.TABLES]
    assert not list((homes[1] / "out" / "toy" / "_work").iterdir())
