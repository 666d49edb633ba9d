"""Workers that read for themselves: when they may, what they leave, and what another attempt takes over."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines import input_files, run_batch, source, unit_watch
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, DataRefused, ModelFailed
from pipelines.parquet_files import RowGroup
from pipelines.scoring import claims, row_groups, units
from pipelines.scoring.claims import Share
from pipelines.scoring.refusals import uri
from pipelines.scoring.row_groups import batches
from pipelines.scoring.units import Piece, Unit
from tests.batch_factory import DAY, content, save_model, settings, suite
from tests.model_factory import save, signature

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests to import


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m")


def frame(rows: int = 300) -> pd.DataFrame:
    values = np.random.default_rng(3).normal(size=(rows, 2))
    day = pd.DataFrame(values, columns=["a", "b"])
    day.insert(0, "id", np.arange(rows) + 2**53)
    day["word"] = [f"w{i % 7}" for i in range(rows)]
    day["day"] = dt.date(2026, 1, 1)
    day["at"] = pd.Timestamp("2026-01-01 12:00:00.123456", tz="UTC")
    return day


def write(home: Path, table: Any, files: int = 3, **options: Any) -> None:
    folder = home / "in" / DAY
    folder.mkdir(parents=True)
    table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    size = -(-table.num_rows // files)
    for i in range(files):
        pq.write_table(table.slice(i * size, size), folder / f"{i}.parquet", **options)


def configured(home: Path, model: Path, **more: Any) -> Config:
    tree = settings(home, model, drift={"baseline": "none"}, **more)
    tree["source"]["path"] = f"{home}/in/{DAY}"
    return Config.model_validate({**tree, "run_date": DAY})


def rule(kind: str, severity: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "kwargs": kwargs, "severity": severity}


def published(home: Path, table: str) -> list[dict[str, Any]]:
    found = pq.read_table(home / "out" / "toy" / table).drop_columns(["run_id", "run_date"])
    return sorted(found.to_pylist(), key=lambda r: r["id"])


def test_both_engines_publish_the_same_rows(spark: SparkSession, tmp_path: Path, model: Path) -> None:
    day = frame()
    day.loc[[5, 150], "a"] = None
    day.loc[7, "b"] = 100.0
    rules = suite(
        tmp_path,
        "in",
        rule("column_values_to_be_between", "critical", column="b", max_value=50),
        rule("column_values_to_be_in_set", "warning", column="word", value_set=["w1"]),
        rule("column_mean_to_be_between", "warning", column="a", min_value=-1),
    )
    after = suite(
        tmp_path, "out", rule("column_values_to_be_between", "critical", column="prediction", max_value=4)
    )
    records, tables = {}, {}
    for engine in ("udf", "scan"):
        home = tmp_path / engine
        write(home, day)
        quality = {"input": rules, "output": after, "max_quarantined": 0.5}
        carry = {"carry": ["word", "day", "at"], "key": ["id"], "format": "parquet", "path": f"{home}/in"}
        config = configured(home, model, quality=quality, scoring={"engine": engine}, source=carry)
        records[engine] = run_batch(config, spark)
        tables[engine] = {t: published(home, t) for t in ("predictions", "quarantine")}
    for row in (*tables["udf"]["quarantine"], *tables["scan"]["quarantine"]):
        row["source_file"] = row["source_file"].rpartition("/")[2]
    assert tables["scan"] == tables["udf"]
    udf, scan = records["udf"], records["scan"]
    assert (udf.spark["engine"], scan.spark["engine"]) == ("udf", "scan")
    assert scan.rows == udf.rows
    assert scan.quarantined_by == udf.quarantined_by
    assert scan.checks == udf.checks
    assert {r["stage"] for r in tables["scan"]["quarantine"]} == {"input", "output"}


NAMES = ["id", "a", "b"]
UNSUITABLE: dict[str, tuple[Any, str]] = {
    "decimals": (lambda t: t.set_column(1, "a", pa.array([Decimal("1.5")] * 9)), "column 'a'.*decimal"),
    "nested": (lambda t: t.append_column("n", pa.array([{"x": 1}] * 9)), "column 'n'"),
    "lists": (lambda t: t.append_column("n", pa.array([[1]] * 9)), "column 'n'"),
    "unsigned": (lambda t: t.append_column("n", pa.array([1] * 9, pa.uint32())), "column 'n'.*uint32"),
}


@pytest.mark.parametrize("case", UNSUITABLE)
def test_what_pyarrow_reads_otherwise_is_left_to_spark(
    spark: SparkSession, tmp_path: Path, model: Path, case: str
) -> None:
    change, reason = UNSUITABLE[case]
    write(tmp_path, change(pa.Table.from_pandas(frame(9)[NAMES], preserve_index=False)))
    with pytest.raises(ConfigInvalid, match=f"scoring.engine: found scan, but {reason}"):
        run_batch(configured(tmp_path, model, scoring={"engine": "scan"}), spark)
    record = run_batch(configured(tmp_path, model), spark)
    assert (record.spark["engine"], record.rows["scored"]) == ("udf", 9)
    assert re.search(reason, record.spark["engine_reason"])


def spark_wrote(table: pa.Table, **notes: str) -> pa.Table:
    return table.replace_schema_metadata({f"org.apache.spark.{k}": v for k, v in notes.items()})


@pytest.mark.parametrize(
    ("notes", "engine"),
    [
        ({"version": "2.4.8"}, "udf"),
        ({"version": "3.1.0", "legacyDateTime": ""}, "udf"),
        ({"version": "4.1.4"}, "scan"),
    ],
)
def test_days_of_an_older_calendar_are_left_to_spark(
    spark: SparkSession, tmp_path: Path, model: Path, notes: dict[str, str], engine: str
) -> None:
    write(tmp_path, spark_wrote(pa.Table.from_pandas(frame(9), preserve_index=False), **notes))
    assert run_batch(configured(tmp_path, model), spark).spark["engine"] == engine


def test_a_folder_named_like_a_column_is_left_to_spark(
    spark: SparkSession, tmp_path: Path, model: Path
) -> None:
    write(tmp_path, frame(9))
    folder = tmp_path / "in" / DAY / "WORD=w1"
    folder.mkdir()
    (tmp_path / "in" / DAY / "0.parquet").rename(folder / "0.parquet")
    for other in (tmp_path / "in" / DAY).glob("*.parquet"):
        other.unlink()
    assert run_batch(configured(tmp_path, model), spark).spark["engine"] == "udf"


def test_names_and_literals_mean_what_they_mean_in_spark(
    spark: SparkSession, tmp_path: Path, model: Path
) -> None:
    """Names in another case; a date for which Python has no word is Spark's."""
    write(tmp_path, frame(9))
    between = {
        "column": "a",
        "max_value": -99,
        "row_condition": "ID > 9007199254740994",
        "condition_parser": "spark",
    }
    rules = suite(tmp_path, "in", rule("column_values_to_be_between", "warning", **between))
    record = run_batch(configured(tmp_path, model, quality={"input": rules}), spark)
    assert record.spark["engine"] == "scan"
    assert record.checks["input"]["failed"]
    late = {**between, "row_condition": "day < DATE'10000-01-01'"}
    rules = suite(tmp_path, "late", rule("column_values_to_be_between", "warning", **late))
    record = run_batch(configured(tmp_path, model, quality={"input": rules}), spark, force=True)
    assert record.spark["engine"] == "udf"


def test_batches_of_long_texts_are_small_however_they_are_encoded(tmp_path: Path) -> None:
    """A megabyte of dictionary can stand for gigabytes of text."""
    texts = pa.DictionaryArray.from_arrays(
        pa.array([0, 1] * 33_000, pa.int32()), pa.array(["x" * 34_000, "y" * 34_000])
    )
    plain = pa.array([f"z{i}" * 100 for i in range(66_000)])
    for name, column in {"coded": texts, "plain": plain}.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"t": column}), path)
        metadata = pq.read_metadata(path).row_group(0)
        schema = pa.schema([("t", pa.string())])
        piece = Piece(str(path), (0,), metadata.num_rows, metadata.total_byte_size)
        rows = 0
        for batch in batches(schema, piece):
            assert batch["t"].nbytes < 64 << 20
            rows += len(batch["t"])
        assert rows == 66_000


def test_a_rule_that_only_spark_can_ask_is_left_to_spark(
    spark: SparkSession, tmp_path: Path, model: Path
) -> None:
    write(tmp_path, frame(9))
    pattern = {"column": "word", "regex": "^w"}
    rule = suite(tmp_path, "in", {"type": "expect_column_values_to_match_regex", "kwargs": pattern})
    config = configured(tmp_path, model, quality={"input": rule})
    record = run_batch(config, spark)
    assert record.spark["engine"] == "udf"
    assert record.checks["input"]["success"]


@pytest.mark.parametrize(
    "name",
    ["plain.parquet", "a b.parquet", "100%.parquet", "ä€.parquet", "q[1]{2}.parquet", "x=1+2&3.parquet"],
)
def test_the_quarantine_names_a_file_as_spark_does(spark: SparkSession, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    pq.write_table(pa.table({"x": [1]}), path)
    file = input_files.list_files(str(path))
    found = spark.read.parquet(*source._paths(file)).select(F.col("_metadata.file_path")).first()
    assert found is not None
    assert uri(str(path)) == found[0]


groups = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 10**6), st.integers(1, 300 << 20)), min_size=1, max_size=60
).map(
    lambda parts: [RowGroup(f"f{path}", n, rows, size) for n, (path, rows, size) in enumerate(sorted(parts))]
)


@pytest.mark.parametrize(
    ("chosen", "runs"),
    [
        ([0, 1], [[0], [1]]),  # what is read together is in memory together
        ([2, 3, 4, 5], [[2, 3, 4], [5]]),
        ([3, 0, 5], [[3, 0], [5]]),
    ],
)
def test_row_groups_are_read_one_by_one_unless_they_are_small(
    tmp_path: Path, chosen: list[int], runs: list[list[int]]
) -> None:
    path = tmp_path / "f.parquet"
    with pq.ParquetWriter(path, pa.schema({"n": pa.int64()})) as file:
        for rows in (100, 90, 10, 20, 30, 40):
            file.write_table(pa.table({"n": range(rows)}), row_group_size=rows)
    footer = pq.read_metadata(path)
    found = list(row_groups._runs(chosen, footer, 50))
    assert [run for run, _ in found] == runs
    assert sum(rows for _, rows in found) == sum(footer.row_group(g).num_rows for g in chosen)


@given(groups, st.integers(1, 64), st.integers(1, 2000))
def test_units_hold_every_row_group_once_and_tasks_every_unit_once(
    parts: list[RowGroup], cores: int, columns: int
) -> None:
    found = units.cut(parts, columns)
    pieces = [(p.path, g) for u in found for p in u.pieces for g in p.groups]
    assert sorted(pieces) == sorted((g.path, g.number) for g in parts)
    assert sum(u.rows for u in found) == sum(g.rows for g in parts)
    assert len({u.id for u in found}) == len(found)
    assert units.cut(parts, columns) == found
    smallest = min(max(1, columns // 32) << 22, units.LARGEST)
    assert all(u.bytes >= smallest for u in found[:-1])  # a unit's account has a share of each column
    planned = claims.shares(found, cores)
    assert [u for share in planned for u in share.own] == list(found)
    assert all(share.own for share in planned)
    assert max(len(s.own) for s in planned) - min(len(s.own) for s in planned) <= 1
    for share in planned:
        assert not share.others or sorted(u.id for u in share.own + share.others) == sorted(
            u.id for u in found
        )


@pytest.mark.parametrize(
    ("count", "gigabytes", "tasks", "helping"),
    [
        (3, 0.1, 3, True),
        (64, 1, 4, True),
        (64, 16, 4, True),
        (64, 17, 12, True),  # cores that come meanwhile find some to do
        (6_400, 100, 400, False),  # too many to tell each of all
    ],
)
def test_each_core_has_one_task_that_helps_the_others_unless_they_are_long(
    count: int, gigabytes: float, tasks: int, helping: bool
) -> None:
    size = int(gigabytes * 2**30 / count)
    found = [Unit(f"u{i}", (Piece("f", (i,), 1, size),)) for i in range(count)]
    planned = claims.shares(found, cores=4)
    assert (len(planned), all(share.others for share in planned)) == (tasks, helping)


@pytest.mark.parametrize(("count", "cores"), [(64, 2), (64, 1000), (2000, 1000), (100_000, 300)])
def test_what_is_sent_to_all_tasks_does_not_grow_as_the_square_of_the_units(count: int, cores: int) -> None:
    found = [Unit(f"u{i}", (Piece("f", (i,), 1, 1),)) for i in range(count)]
    told = sum(len(s.own) + len(s.others) for s in claims.shares(found, cores))
    assert count <= told <= max(count, 20_000)


def _shares(tmp_path: Path, count: int, cores: int) -> tuple[str, list[Share]]:
    (tmp_path / units.CLAIMS).mkdir(parents=True)
    found = [Unit(f"u{i:02}", (Piece("f", (i,), 1, 1),)) for i in range(count)]
    return str(tmp_path), claims.shares(found, cores)


@given(st.integers(1, 20), st.integers(1, 4), st.randoms())
def test_whoever_is_ready_first_takes_a_unit_and_each_is_taken_once(
    count: int, cores: int, chance: Any
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder, planned = _shares(Path(scratch), count, cores)
        working = [claims.taken(folder, share) for share in planned]
        seen = []
        while working:
            worker = chance.choice(working)
            unit = next(worker, None)
            if unit is None:
                working.remove(worker)
            else:
                seen.append(unit.id)
        assert sorted(seen) == [f"u{i:02}" for i in range(count)]


def test_a_task_that_is_tried_again_takes_up_what_it_had_claimed(tmp_path: Path) -> None:
    folder, (first, second) = _shares(tmp_path, 6, 2)
    dies = claims.taken(folder, first)
    had = [next(dies).id for _ in range(4)]  # its own three, and one of the other's
    others = [u.id for u in claims.taken(folder, second)]
    assert sorted(had + others) == [f"u{i:02}" for i in range(6)]
    assert [u.id for u in claims.taken(folder, first)] == had


def test_where_links_cannot_be_made_each_task_keeps_to_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, planned = _shares(tmp_path, 6, 2)

    def refuses(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "symlink", refuses)
    assert [[u.id for u in claims.taken(folder, s)] for s in planned] == [
        ["u00", "u01", "u02"],
        ["u03", "u04", "u05"],
    ]


def test_a_second_attempt_scores_only_what_the_first_has_not(
    spark: SparkSession, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but one unit was committed when the first attempt died."""
    monkeypatch.setattr(units, "_SMALLEST", 1)  # a unit per row group
    write(tmp_path, frame(1000), files=10)
    config = configured(tmp_path, model)
    whole = configured(tmp_path / "clean", model)
    write(tmp_path / "clean", frame(1000), files=10)
    run_batch(whole, spark)

    def dies(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.publish.collect_table", dies)
    with pytest.raises(Exception, match="No space left"):
        run_batch(config, spark)
    monkeypatch.undo()
    monkeypatch.setattr(units, "_SMALLEST", 1)
    (left,) = (tmp_path / "out" / "toy" / "_work").glob("*/units/*")
    committed = sorted(p.name for p in left.iterdir() if not p.name.startswith("."))
    assert len(committed) == 10
    for part in (left / committed[0]).iterdir():
        part.unlink()
    (left / committed[0]).rmdir()
    record = run_batch(config, spark)
    assert record.spark["resumed_rows"] == 900
    assert record.rows == {"read": 1000, "scored": 1000, "quarantined": 0}
    assert published(tmp_path, "predictions") == published(tmp_path / "clean", "predictions")
    assert not list((tmp_path / "out" / "toy" / "_work").iterdir())


def test_units_of_other_code_or_other_input_are_not_taken_over(
    spark: SparkSession, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, frame(30))

    def dies(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.publish.collect_table", dies)
    with pytest.raises(Exception, match="No space left"):
        run_batch(configured(tmp_path, model), spark)
    monkeypatch.undo()
    monkeypatch.setattr("pipelines.session.code_digest", lambda: "another")
    record = run_batch(configured(tmp_path, model), spark)
    assert record.spark["resumed_rows"] == 0
    assert not list((tmp_path / "out" / "toy" / "_work").iterdir())


def test_a_run_beyond_its_failure_budget_ends_before_its_input_does(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "_SMALLEST", 1)
    monkeypatch.setattr(unit_watch, "PERIOD", 0.05)
    day = frame(4000)
    day.loc[day.index % 10 > 0, "a"] = None
    write(tmp_path, day, files=400)
    config = with_model(tmp_path, Slow(), quality={"max_quarantined": 0.01})
    with pytest.raises(
        DataRefused, match=r"were read, limit 1.00% of all; the run was stopped early"
    ) as caught:
        run_batch(config, spark)
    record = caught.value.record
    assert (record.exit_code, record.status) == (65, "refused")
    kept = pq.read_table(record.paths["quarantine"])
    assert 40 < kept.num_rows < 4000
    assert kept["reasons"].to_pylist()[0] == ["required(a)"]
    assert content(tmp_path / "out" / "toy") == {}


class Slow:
    """0 after a while."""

    def predict(self, table: Any) -> Any:
        time.sleep(0.03)
        return np.zeros(len(table))


class Broken:
    def predict(self, table: Any) -> Any:
        raise RuntimeError("no")


class Hanging:
    def predict(self, table: Any) -> Any:
        while True:
            time.sleep(0.01)


def with_model(home: Path, estimator: Any, **more: Any) -> Config:
    model = save(estimator, home / "m", signature({"a": "double"}, {None: "double"}))
    config = configured(home, Path(model), **more)
    return config.model_copy(update={"model": config.model.model_copy(update={"allow_pickle": True})})


def test_a_model_that_fails_is_told_once_and_not_tried_again(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path, frame(30))
    with pytest.raises(ModelFailed, match=r"the model raises on .* RuntimeError: no"):
        run_batch(with_model(tmp_path, Broken()), spark)


@pytest.mark.parametrize("engine", ["udf", "scan"])
def test_a_model_that_hangs_is_stopped(spark: SparkSession, tmp_path: Path, engine: str) -> None:
    write(tmp_path, frame(30), files=1)
    config = with_model(tmp_path, Hanging(), scoring={"engine": engine, "batch_timeout": 0.5})
    with pytest.raises(ModelFailed, match=r"has not answered within 0.5 s for 30 rows"):
        run_batch(config, spark)


def test_of_two_attempts_at_a_unit_the_first_to_commit_counts(tmp_path: Path) -> None:
    one, two = (units.UnitFolder(tmp_path, "u") for _ in range(2))
    two.commit(units.Rows(3, 0), {"by": "two"})
    one.commit(units.Rows(3, 0), {"by": "one"})
    assert units.account_of(tmp_path, "u") == {"by": "two"}
    assert [p.name for p in tmp_path.iterdir()] == ["u"]


def test_a_note_of_failure_is_the_first_one(tmp_path: Path) -> None:
    units.note(str(tmp_path), {"problem": "first"})
    units.note(str(tmp_path), {"problem": "second"})
    assert json.loads((tmp_path / units.FAILED).read_text()) == {"problem": "first"}
    assert (tmp_path / units.STOP).is_file()


def test_a_unit_knows_its_rows() -> None:
    unit = Unit("u", (Piece("f", (0, 1), 10, 100), Piece("g", (0,), 5, 50)))
    assert (unit.rows, unit.bytes) == (15, 150)
