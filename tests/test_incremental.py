"""Incremental runs: every file is scored for exactly one date."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines import publish, run_batch
from pipelines.config import Config
from pipelines.errors import RunActive
from pipelines.incremental import listed, unscored
from pipelines.records import InputFile, RunRecord
from tests.batch_factory import day_of, save_model, settings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m")


class World:
    def __init__(self, home: Path, model: Path, spark: SparkSession) -> None:
        self.home, self.model, self.spark = home, model, spark
        (home / "in").mkdir()

    def give(self, number: int, rows: int = 10) -> Path:
        day = day_of(rows, seed=number)
        day["id"] = range(100 * number, 100 * number + rows)
        path = self.home / "in" / f"{number}.parquet"
        day.to_parquet(path, index=False)
        return path

    def run(self, date: str, force: bool = False) -> RunRecord:
        source = {"format": "parquet", "path": f"{self.home}/in", "key": ["id"], "incremental": True}
        tree = settings(self.home, self.model, source=source, drift={"baseline": "none"})
        return run_batch(Config.model_validate({**tree, "run_date": date}), self.spark, force=force)

    def published(self) -> dict[str, list[int]]:
        table = pq.read_table(self.home / "out" / "toy" / "predictions", columns=["id", "run_date"])
        rows: dict[str, list[int]] = {}
        for row in table.to_pylist():
            rows.setdefault(str(row["run_date"]), []).append(row["id"])
        return {date: sorted({i // 100 for i in ids}) for date, ids in rows.items()}


@pytest.fixture
def world(tmp_path: Path, model: Path, spark: SparkSession) -> World:
    return World(tmp_path, model, spark)


def test_each_file_is_scored_for_the_first_date_that_sees_it(world: World) -> None:
    world.give(1)
    world.give(2)
    assert world.run("2026-01-01").rows["scored"] == 20
    world.give(3)
    second = world.run("2026-01-02")
    assert (second.rows["scored"], second.inputs["files"]) == (10, 1)
    assert world.published() == {"2026-01-01": [1, 2], "2026-01-02": [3]}

    idle = world.run("2026-01-03")
    assert (idle.status, idle.exit_code, idle.rows["read"]) == ("already_published", 0, 0)
    assert "nothing new, all 3 file(s)" in idle.warnings[0]
    world.give(4)
    assert world.run("2026-01-03").status == "published"  # the date was still open

    again = world.run("2026-01-02", force=True)  # its own files, not those of other dates
    assert again.rows["scored"] == 10
    assert world.published() == {"2026-01-01": [1, 2], "2026-01-02": [3], "2026-01-03": [4]}


def test_a_file_that_has_changed_is_scored_again_and_the_record_says_so(world: World) -> None:
    path = world.give(1)
    world.run("2026-01-01")
    world.give(1, rows=11)
    os.utime(path, ns=(1, 1))
    record = world.run("2026-01-02")
    assert record.rows["scored"] == 11
    assert "1 file(s) have changed since they were scored" in record.warnings[0]


def test_two_dates_cannot_take_the_same_files_at_once(world: World) -> None:
    world.give(1)
    other = publish.slot(f"{world.home}/out", "toy", "2026-01-02")
    with publish.lock(other, every_date=True), pytest.raises(RunActive, match="another run is writing"):
        world.run("2026-01-01")
    assert world.run("2026-01-01").rows["scored"] == 10


files = st.builds(InputFile, st.sampled_from("abcd"), st.integers(0, 2), st.integers(0, 2))


@given(st.lists(st.lists(files, unique=True, max_size=5), min_size=1, max_size=5))
def test_whatever_arrives_is_new_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[InputFile]]
) -> None:
    import json

    root, seen = tmp_path_factory.mktemp("root"), set()
    for number, day in enumerate(days):
        new = unscored(root, str(number), day)
        assert set(new.files) == set(day) - seen
        assert new.known == len(day) - len(new.files)
        seen |= set(day)
        folder = root / "_control" / "commits" / f"run_date={number}"
        folder.mkdir(parents=True)
        (folder / "00000001.json").write_text(json.dumps({"files": listed(new.files)}))
