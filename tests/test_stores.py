"""Stores that only Spark reaches: paths act as on a mounted disk, and a whole run there is as one here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from batch_factory import DAY, day_of, lay_out, save_model, settings, suite
from hadoop_store import mounted
from pyspark.sql import SparkSession

from pipelines import evaluation, part_pass, publish, run_batch, storage
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, DataRefused, RunActive
from pipelines.labelled import Request
from pipelines.publish.leases import lease
from pipelines.storage import AnyPath, HadoopPath

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.platforms


def names(paths: Any) -> list[str]:
    return sorted(p.name for p in paths)


def error_of(act: Callable[[], Any]) -> str:
    try:
        act()
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    return "none"


def refused(act: Callable[[], Any]) -> bool:
    return error_of(act) != "none"


ACTS: dict[str, Callable[[AnyPath], Any]] = {
    "what is there": lambda p: [(x.exists(), x.is_dir(), x.is_file()) for x in (p / "d", p / "f", p / "no")],
    "below a file": lambda p: (p / "f" / "x").exists(),
    "read": lambda p: ((p / "f").read_bytes(), (p / "d" / "a b=%20[1].json").read_text("utf-8")),
    "list": lambda p: names((p / "d").iterdir()),
    "glob": lambda p: names(storage.found(p / "d", "[0-9]*.json")),
    "glob of what is not there": lambda p: names(storage.found(p / "no", "*")),
    "glob without hidden files": lambda p: names(storage.found(p / "d", "[!.]*")),
    "glob of two levels": lambda p: names(storage.found(p, "*/*.json")),
    "any depth": lambda p: names(storage.found(p, "**/*.json")),
    "any depth of what is not there": lambda p: names(storage.found(p / "no", "**/*.json")),
    "as seen from above": lambda p: storage.below(p / "d" / "x", p),
    "read what is not there": lambda p: error_of((p / "no").read_bytes),
    "make what is there": lambda p: error_of((p / "d").mkdir),
    "new on old": lambda p: (error_of(lambda: storage.put_new(p / "f", b"x")), (p / "f").read_bytes()),
    "new": lambda p: (storage.put_new(p / "n" / "f", b"new"), names((p / "n").iterdir())),
    "replace": lambda p: (storage.replace(p / "f", b"r" * 3_000_000), len((p / "f").read_bytes())),
    "replace a folder": lambda p: (refused(lambda: storage.replace(p / "d", b"")), names(p.iterdir())),
    "rename": lambda p: (
        storage.rename(p / "d", p / "e"),
        names(p.iterdir()),
        len(names((p / "e").iterdir())),
    ),
    "rename to where something is": lambda p: (
        refused(lambda: storage.rename(p / "d", p / "full")),
        names((p / "full").iterdir()),
    ),
    "adopt": lambda p: (storage.adopt(p / "f", p / "g"), (p / "g").read_bytes()),
    "remove": lambda p: (storage.remove(p / "d"), storage.remove(p / "no"), names(p.iterdir())),
    "unlink": lambda p: ((p / "f").unlink(), (p / "no").unlink(missing_ok=True), names(p.iterdir())),
    "unlink what is not there": lambda p: error_of((p / "no").unlink),
    "parts of a file": lambda p: _parts(p / "f"),
}


def _parts(path: AnyPath) -> list[bytes]:
    with path.open("rb") as file:
        file.seek(-2, 2)
        end = file.read()
        file.seek(1)
        return [end, file.read(2), file.read(), file.read()]


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_path_on_a_store_acts_as_one_on_a_disk(
    spark: SparkSession, tmp_path: Path, act: Callable[[AnyPath], Any]
) -> None:
    found = []
    for place in (tmp_path / "here", storage.place(mounted(spark, tmp_path)) / "there"):
        place.mkdir(parents=True)
        for name, content in {
            "f": b"hello", "d/1.json": b"1", "d/.2.json": b"2", "d/a b=%20[1].json": b"{}", "full/x": b"x",
        }.items():  # fmt: skip
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        found.append(act(place))
    assert found[0] == found[1]


def test_without_a_session_a_store_cannot_be_reached_and_the_way_out_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pyspark import SparkContext

    monkeypatch.setattr(SparkContext, "_active_spark_context", None)
    with pytest.raises(ConfigInvalid, match="no classic Spark session") as caught:
        HadoopPath.of("hdfs://name/x").exists()
    assert "mount" in caught.value.hint


@pytest.mark.parametrize("scheme", storage.STORES)
def test_what_is_promised_of_each_store_stands_in_the_docs(scheme: str) -> None:
    told = re.sub(r"\s+", " ", (ROOT / "docs" / "stores.md").read_text())
    assert f"`{scheme}`" in told
    assert storage.store_of(scheme).says in told


# --- leases ---


def test_a_lease_is_held_by_one_until_it_is_given_back(spark: SparkSession, tmp_path: Path) -> None:
    path = HadoopPath.of(mounted(spark, tmp_path)) / "locks" / "l"
    with lease(path), pytest.raises(BlockingIOError), lease(path):
        pass
    assert names(path.parent.iterdir()) == []
    with lease(path):
        pass


def test_a_lease_that_is_renewed_does_not_expire_and_one_that_is_not_is_taken_over(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = HadoopPath.of(mounted(spark, tmp_path)) / "locks" / "l"
    with lease(path, beat=0.05):
        first = path.status()
        until = time.monotonic() + 60
        while path.status() == first:  # renewed at another time of the store's clock
            assert time.monotonic() < until
        with pytest.raises(BlockingIOError), lease(path):
            pass
    storage.put_new(path, b"of a driver that died")
    with pytest.raises(BlockingIOError), lease(path):
        pass
    with lease(path, expiry=0.0):
        assert path.read_bytes() != b"of a driver that died"
    assert names(path.parent.iterdir()) == []


def test_who_has_lost_a_lease_does_not_take_it_from_the_next(spark: SparkSession, tmp_path: Path) -> None:
    path = HadoopPath.of(mounted(spark, tmp_path)) / "locks" / "l"
    with lease(path, beat=60.0):
        with lease(path, expiry=0.0):
            pass
        storage.put_new(path, b"a third one's")
    assert path.read_bytes() == b"a third one's"


# --- whole runs ---


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m")


def config(home: Path, model: Path, *, data: str, sink: str, form: str = "parquet", **more: Any) -> Config:
    source = {"format": form, "path": data, "key": ["id"], **more.pop("source", {})}
    tree = settings(home, model, source=source, sink={"path": sink}, **more)
    return Config.model_validate({"run_date": DAY, **tree})


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """What is published of a date, without what names the run."""
    frame = pq.read_table(folder / "toy" / table).to_pandas().sort_values("id", ignore_index=True)
    frame = frame.drop(columns=["run_id", "source_file"], errors="ignore")
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_run_from_store_to_store_publishes_what_a_mounted_one_does(
    spark: SparkSession, tmp_path: Path, model: Path, form: str
) -> None:
    folder, frame = tmp_path / "in" / DAY, day_of(200, missing=3)
    folder.mkdir(parents=True)
    frame.to_parquet(folder / "a.parquet") if form == "parquet" else frame.to_csv(
        folder / "a.csv", index=False
    )
    rule = {
        "type": "expect_column_values_to_be_between", "severity": "critical",
        "kwargs": {"column": "b", "min_value": -2},
    }  # fmt: skip
    more: dict[str, Any] = {
        "form": form,
        "quality": {"input": suite(tmp_path, "in", rule), "max_quarantined": 0.5},
    }
    address = mounted(spark, tmp_path)
    there = config(tmp_path, model, data=f"{address}/in/{DAY}", sink=f"{address}/there", **more)
    here = config(tmp_path, model, data=str(folder), sink=str(tmp_path / "here"), **more)
    record, expected = run_batch(there, spark), run_batch(here, spark)
    assert record.rows == expected.rows
    assert record.quarantined_by == expected.quarantined_by
    assert record.spark["engine"] == "udf"
    for table in ("predictions", "quarantine"):
        found = rows(tmp_path / "there", table)
        assert len(found) > 3
        assert found == rows(tmp_path / "here", table)
    assert run_batch(there, spark).status == "already_published"
    assert run_batch(there, spark, force=True).status == "published"
    assert rows(tmp_path / "there", "predictions") == rows(tmp_path / "here", "predictions")
    assert (tmp_path / "there" / "toy" / "reports" / "index.html").is_file()
    assert names((tmp_path / "there" / "toy" / "_work").iterdir()) == []


def test_a_refused_run_keeps_its_quarantine_on_the_store(
    spark: SparkSession, tmp_path: Path, model: Path
) -> None:
    lay_out(tmp_path / "in", day_of(100, missing=50))
    address = mounted(spark, tmp_path)
    with pytest.raises(DataRefused) as caught:
        run_batch(config(tmp_path, model, data=f"{address}/in/*", sink=f"{address}/out"), spark)
    record = caught.value.record
    assert record is not None
    assert record.paths["quarantine"].startswith(f"{address}/out/toy/refused/")
    assert pq.read_table(tmp_path / "out" / "toy" / "refused").num_rows == 50
    assert not (tmp_path / "out" / "toy" / "predictions").exists()


def test_while_one_run_holds_a_date_on_a_store_another_exits_75(
    spark: SparkSession, tmp_path: Path, model: Path
) -> None:
    lay_out(tmp_path / "in", day_of(10))
    address = mounted(spark, tmp_path)
    with (
        publish.lock(publish.slot(f"{address}/out", "toy", DAY)),
        pytest.raises(RunActive, match=f"another run for {DAY}"),
    ):
        run_batch(config(tmp_path, model, data=f"{address}/in/{DAY}", sink=f"{address}/out"), spark)


@pytest.mark.parametrize("dies", ["while a part is scored", "when its tables are collected"])
def test_a_run_on_a_store_goes_on_where_it_died(
    spark: SparkSession, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    folder = tmp_path / "in" / DAY
    folder.mkdir(parents=True)
    for i in range(3):
        day = day_of(50, seed=i)
        day["id"] = range(50 * i, 50 * i + 50)
        day.to_parquet(folder / f"{i}.parquet", index=False)
    address = mounted(spark, tmp_path)
    wanted = config(tmp_path, model, data=f"{address}/in/{DAY}", sink=f"{address}/out")
    monkeypatch.setattr(part_pass, "PART_BYTES", 1)
    target, name = (part_pass.PartPass, "_run_part") if "part" in dies else (publish, "collect_table")
    real, calls = getattr(target, name), []

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) == (3 if name == "_run_part" else 8):  # each part collects two tables of its own
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, dying)
        with pytest.raises(KeyboardInterrupt):
            run_batch(wanted, spark)
    record = run_batch(wanted, spark)
    # the predictions of the second case were taken out of their parts when the run died
    assert record.spark["resumed_rows"] == (100 if name == "_run_part" else 0)
    assert record.rows == {"read": 150, "scored": 150, "quarantined": 0}
    assert [r["id"] for r in rows(tmp_path / "out", "predictions")] == list(range(150))


def test_only_what_is_new_on_a_store_is_scored_and_its_labels_are_evaluated(
    spark: SparkSession, tmp_path: Path, model: Path
) -> None:
    lay_out(tmp_path / "in", day_of(40, seed=1), "1")
    address = mounted(spark, tmp_path)
    more = {"source": {"incremental": True}, "data": f"{address}/in", "sink": f"{address}/out"}
    first = config(tmp_path, model, **more)
    second = first.model_copy(update={"run_date": first.run_date.replace(day=23)})
    assert run_batch(first, spark).rows["read"] == 40
    assert run_batch(second, spark).rows["read"] == 0
    new = day_of(30, seed=2)
    new["id"] += 1000
    lay_out(tmp_path / "in", new, "2")
    assert run_batch(second, spark).rows["read"] == 30
    (tmp_path / "labels").mkdir()
    labels = pd.DataFrame({"id": new["id"], "label": new["a"] + 2 * new["b"]})
    labels.to_parquet(tmp_path / "labels" / "l.parquet", index=False)
    found = evaluation.evaluate(second, Request(str(tmp_path / "labels")), spark)
    assert found.rows["labelled"] == 30
    assert np.isclose(found.figures["root_mean_squared_error"], 0.0)
