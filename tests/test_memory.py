"""Memory: workers share a large model, a run says what it needs, and is refused where that is clearly too much."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from pipelines import memory, run_batch, session
from pipelines.config import Config
from pipelines.errors import ConfigInvalid
from pipelines.memory import Need, Place
from pipelines.scoring import sharing
from pipelines.session import resources, shipping
from tests.batch_factory import DAY, data_files, day_of, lay_out, save_model, settings
from tests.model_factory import save, signature

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests to import


class Table:
    """Looks its answer up in a large array, and scribbles into it."""

    def __init__(self) -> None:
        self.rows = np.random.default_rng(1).normal(size=(1000, 500))
        self.calls = np.zeros(1, np.int64)

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        self.calls += 1
        self.rows[-1] = self.calls[0]
        return frame["a"].to_numpy() + self.rows[frame["b"].abs().to_numpy().astype(int) % 900, 0]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    kinds = {"a": "double", "b": "double"}
    return save(Table(), tmp_path_factory.mktemp("table") / "m", signature(kinds, {"prediction": "double"}))


def configured(home: Path, uri: Any, **scoring: Any) -> Config:
    lay_out(home / "in", day_of())
    tree = settings(home, uri, drift={"baseline": "none"}, scoring=scoring)
    tree["model"]["allow_pickle"] = True
    tree["source"]["path"] = f"{home}/in/{DAY}"
    return Config.model_validate({**tree, "run_date": DAY})


def predictions(home: Path) -> dict[int, float]:
    found = pd.read_parquet(home / "out" / "toy" / "predictions")
    return dict(zip(found["id"], found["prediction"], strict=True))


@pytest.mark.parametrize("engine", ["scan", "udf"])
def test_a_large_model_is_shared_and_predicts_the_same(
    spark: SparkSession, tmp_path: Path, table: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run_batch(configured(tmp_path / "alone", table, engine=engine), spark)
    with monkeypatch.context() as change:
        change.setattr(sharing, "LEAST", 1 << 20)
        change.setattr(shipping, "_MANY", 1 << 20)
        # the workers that are there have the model already; with another tolerance they load it again
        wanted = configured(tmp_path / "shared", table, engine=engine, compile_tolerance=_unused(engine))
        together = run_batch(wanted, spark)
    assert alone.memory["shared_model_mb"] == 0.0
    assert 3.8 <= together.memory["shared_model_mb"] <= 3.9
    assert predictions(tmp_path / "shared") == predictions(tmp_path / "alone")


def _unused(engine: str) -> float:
    return {"scan": 1e-7, "udf": 1e-8}[engine]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if this process were a worker."""
    monkeypatch.setattr(sharing, "_folder", lambda: tmp_path)
    return tmp_path


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if not f.suffix)


def test_one_worker_makes_the_model_and_the_others_map_it(folder: Path) -> None:
    made = []

    def make() -> Table:
        made.append(1)
        return Table()

    models = [sharing.shared("m", make, by_value=True) for _ in range(3)]
    assert len(made) == 1
    assert {m.bytes for m in models} == {1000 * 500 * 8 + 8}
    assert all(np.array_equal(m.model.rows, Table().rows) for m in models)


def test_what_a_model_writes_into_its_arrays_no_other_worker_sees(folder: Path) -> None:
    one, other = (sharing.shared("m", Table, by_value=True).model for _ in range(2))
    before = _files(folder)[0].read_bytes()
    one.predict(pd.DataFrame({"a": [1.0], "b": [1.0]}))
    assert one.rows[-1, 0] == 1.0
    assert np.array_equal(other.rows, Table().rows)
    assert _files(folder)[0].read_bytes() == before


@pytest.mark.parametrize(
    "array", [np.zeros((0, 3)), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(7)]
)
def test_arrays_of_any_shape_come_back_as_they_were(folder: Path, array: Any) -> None:
    found = sharing.shared("m", lambda: {"x": array, "y": [array, "text"]}).model
    assert found["x"] is found["y"][0]
    assert (found["x"].shape, found["x"].dtype, found["x"].flags.f_contiguous) == (
        array.shape,
        array.dtype,
        array.flags.f_contiguous,
    )
    assert np.array_equal(found["x"], array)


def test_what_cannot_be_written_is_used_as_it_is(folder: Path) -> None:
    generator = (i for i in range(3))  # no pickle takes it
    assert sharing.shared("m", lambda: generator) == sharing.Shared(generator, 0)
    assert _files(folder) == []


def test_of_many_models_the_last_two_stay_on_disk(folder: Path) -> None:
    for name in "abc":
        sharing.shared(name, lambda: np.arange(3))
    assert len(_files(folder)) == 2


def test_nobody_else_may_read_a_model(folder: Path) -> None:
    sharing.shared("m", lambda: np.arange(3))
    assert _files(folder)[0].stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("flavor", "options", "payload", "shared"),
    [
        ("sklearn", {}, b"numpy" * 3, True),
        ("sklearn", {}, b"numpy", False),  # small
        ("sklearn", {}, b"numpy" + sharing.TREES, False),
        ("sklearn", {"code": "code"}, b"numpy" * 3, False),
        ("xgboost", {}, b"numpy" * 3, False),
    ],
)
def test_what_is_shared(
    flavor: str, options: dict[str, str], payload: bytes, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "LEAST", 10)
    assert sharing.shares(flavor, options, payload) is shared


def test_many_bytes_reach_workers_as_a_file(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "_MANY", 5)
    session.ship_code(spark)
    before = len(spark.sparkContext.listFiles)
    for _ in range(2):
        read = session.ship_bytes(spark, b"content")
        found = spark.sparkContext.parallelize([0], 1).map(lambda _, read=read: read()).collect()
        assert found == [b"content"]
    assert len(spark.sparkContext.listFiles) == before + 1


def test_a_worker_does_not_keep_the_bytes_of_a_broadcast(spark: SparkSession) -> None:
    import gc

    session.ship_code(spark)
    read = session.ship_bytes(spark, b"content")

    def held(_: int) -> list[bool]:
        from pyspark import Broadcast

        content = read()
        return [hasattr(o, "_value") for o in gc.get_objects() if isinstance(o, Broadcast)] + [
            len(content) == 7
        ]

    found = spark.sparkContext.parallelize([0], 1).map(held).collect()[0]
    assert found[-1] is True
    assert found[:-1] == [False] * (len(found) - 1)
    assert len(found) > 1


def test_the_record_says_what_is_needed_and_what_was_taken(spark: SparkSession, tmp_path: Path) -> None:
    found = run_batch(configured(tmp_path, save_model(tmp_path / "m")), spark).memory
    assert found["workers"] == spark.sparkContext.defaultParallelism
    assert found["needed_mb"] > 2 * memory.WORKER
    assert found["available_mb"] > 0
    assert all(found[f"peak_{of}_mb"] > 50 for of in ("worker", "driver", "jvm"))


def test_a_run_that_does_not_fit_is_refused_before_anything_is_written(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources.memory, "available", lambda: (210.0, "the tin"))
    wanted = configured(tmp_path, save_model(tmp_path / "m"))
    with pytest.raises(
        ConfigInvalid, match=r"2 worker\(s\) of about 200 MB .* 400 MB; found 210 MB"
    ) as caught:
        run_batch(wanted, spark)
    assert "1 worker(s) would fit" in caught.value.message
    assert "spark.master" in caught.value.hint
    assert caught.value.record.exit_code == 78
    assert caught.value.record.memory["available_mb"] == 210
    assert data_files(tmp_path / "out" / "toy") == []
    assert run_batch(configured(tmp_path, tmp_path / "m", check_memory=False), spark).status == "published"


def test_what_is_checked_of_memory_changes_nothing_of_the_outputs(tmp_path: Path) -> None:
    digests = {configured(tmp_path, "m", check_memory=wanted).digest() for wanted in (True, False)}
    assert len(digests) == 1


PLACE = Place(4, 1000.0, 300.0, "the tin", "Buy a larger one")


@pytest.mark.parametrize(
    ("place", "wanted", "outcome"),
    [
        (PLACE, Need(150, 0), None),
        (PLACE, Need(100, 300), None),
        (PLACE, Need(200, 0), "scarce"),  # 800 and 300 of the JVM
        (PLACE, Need(200, 100), "scarce"),
        (PLACE, Need(251, 0), "refused"),
        (PLACE, Need(200, 201), "refused"),
        (Place(None, 1000.0, 0.0, "", ""), Need(9999, 0), None),
        (Place(4, None, 0.0, "", ""), Need(9999, 0), None),
    ],
)
def test_the_verdict_on_a_need(place: Place, wanted: Need, outcome: str | None) -> None:
    if outcome == "refused":
        with pytest.raises(ConfigInvalid, match="found 1,000 MB"):
            memory.check(place, wanted)
        return
    warning = memory.check(place, wanted)
    assert (warning is None) == (outcome is None)
    assert warning is None or "scarce" in warning


def test_a_shared_model_is_needed_once_and_again_while_it_is_written() -> None:
    size = 1000 << 20
    assert memory.need(size, shared=True).of(10) == 10 * memory.WORKER + 2000
    assert memory.need(size, shared=False).of(10) == 10 * memory.WORKER + 10_000


def group(folder: Path, names: tuple[str, str], limit: str, used: int, stat: str) -> None:
    folder.mkdir(parents=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(stat)


@pytest.mark.parametrize(
    ("line", "top", "names", "stat"),
    [
        ("0::/a/b", "", ("memory.max", "memory.current"), "inactive_file"),
        (
            "4:cpu:/x\n7:memory:/a/b",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "total_inactive_file",
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_the_tightest_bound_counts(
    tmp_path: Path, line: str, top: str, names: tuple[str, str], stat: str
) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  2048000 kB\n")
    assert memory.available(proc, groups) == (2000.0, "what is available on this machine")
    (proc / "self" / "cgroup").write_text(line + "\n")
    size = 1 << 20
    group(groups / top / "a", names, str(900 * size), 500 * size, f"{stat} {100 * size}\nother 7\n")
    assert memory.available(proc, groups)[0] == 500.0  # the file pages are given up first
    group(groups / top / "a" / "b", names, "max", 10, f"{stat} 0\n")
    assert memory.available(proc, groups) == (500.0, "a control group's limit, as containers have")


def test_where_nothing_tells_memory_is_unknown(tmp_path: Path) -> None:
    assert memory.available(tmp_path, tmp_path) == (None, "unknown")
    assert memory.peak(1, tmp_path) is None


@pytest.mark.parametrize(
    ("settings", "cores", "workers", "available", "growth"),
    [
        ({}, None, None, None, 0.0),
        ({}, 8, 8, None, 0.0),
        ({"spark.executor.cores": "4", "spark.executor.pyspark.memory": "2048"}, 8, 4, 2048.0, 0.0),
        ({"spark.task.cpus": "2", "spark.executor.memoryOverhead": "500"}, 8, 4, 1500.0, 1000.0),
        ({"spark.executor.memory": "3000", "spark.executor.memoryOverhead": "500"}, 2, 2, 3500.0, 3000.0),
    ],
)
def test_on_a_cluster_what_is_set_is_the_bound(
    settings: dict[str, str], cores: int | None, workers: int | None, available: float | None, growth: float
) -> None:
    place = memory.of_executor(settings.get, cores, lambda text: {"1g": 1000}.get(text) or int(text))
    assert (place.workers, place.available, place.growth) == (workers, available, growth)
