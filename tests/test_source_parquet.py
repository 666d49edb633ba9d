"""Parquet: folders, globs and partitions; what its footers promise, and files that break the promise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines import input_files, source
from pipelines.config import Source
from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.parquet_types import spark_types
from pipelines.session import RUN_SETTINGS, settings


@pytest.fixture(scope="module", autouse=True)
def as_in_a_run(spark: SparkSession) -> Iterator[None]:
    with settings(spark, RUN_SETTINGS):
        yield


def table(
    spark: SparkSession, path: Path | str, wanted: dict[str, str] | None = None, **given: Any
) -> source.SourceTable:
    config = Source(format="parquet", path=str(path), **given)
    return source.read(spark, config, wanted or {}, input_files.list_files(config.path))


def write(folder: Path, data: dict[str, Any] | pa.Table, name: str = "part.parquet") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(data if isinstance(data, pa.Table) else pa.table(data), file)
    return file


def values(found: source.SourceTable) -> list[tuple[Any, ...]]:
    return sorted((tuple(r) for r in found.frame.drop(source.RAW, source.FILE).collect()), key=str)


def test_a_folder_is_one_table_with_its_files_counted_and_its_rows_promised(
    spark: SparkSession, tmp_path: Path
) -> None:
    write(tmp_path, {"id": [1, 2], "x": [0.5, None]}, "a.parquet")
    write(tmp_path, {"x": [1.5], "id": [3]}, "deep/b.parquet")  # columns in another order
    write(tmp_path, {"id": pa.array([], pa.int64()), "x": pa.array([], pa.float64())}, "empty.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "_temporary").mkdir()
    (tmp_path / "_temporary" / "junk.parquet").touch()
    found = table(spark, tmp_path)
    assert values(found) == [(1, 0.5), (2, None), (3, 1.5)]
    assert (found.rows, found.summary["files"], found.rules) == (3, 3, ())
    assert {r[0].rsplit("/", 1)[-1] for r in found.frame.select(source.FILE).collect()} == {
        "a.parquet",
        "b.parquet",
    }


def test_a_table_without_rows_is_read_as_such(spark: SparkSession, tmp_path: Path) -> None:
    found = table(spark, write(tmp_path, {"id": pa.array([], pa.int64())}))
    assert (found.rows, values(found)) == (0, [])


@pytest.mark.parametrize(
    ("path", "columns", "expected"),
    [
        (
            "",
            ["id", "day", "shop"],
            [(1, "2026-11-21", "007"), (2, "2026-11-22", "007"), (3, "2026-11-22", "eu west")],
        ),
        ("day=2026-11-22", ["id", "shop"], [(2, "007"), (3, "eu west")]),
        (
            "day=2026-11-*",
            ["id", "day", "shop"],
            [(1, "2026-11-21", "007"), (2, "2026-11-22", "007"), (3, "2026-11-22", "eu west")],
        ),
        ("*/shop=007", ["id", "day", "shop"], [(1, "2026-11-21", "007"), (2, "2026-11-22", "007")]),
        ("day=2026-11-22/shop=007/a.parquet", ["id"], [(2,)]),
    ],
)
def test_partition_folders_are_columns_and_their_names_stay_what_they_are(
    spark: SparkSession, tmp_path: Path, path: str, columns: list[str], expected: list[Any]
) -> None:
    for number, (day, shop) in enumerate(
        [("2026-11-21", "007"), ("2026-11-22", "007"), ("2026-11-22", "eu%20west")]
    ):
        write(tmp_path, {"id": [number + 1]}, f"day={day}/shop={shop}/a.parquet")
    found = table(spark, tmp_path / path)
    assert found.schema.names == columns
    assert values(found) == expected


def test_partition_columns_have_the_type_the_signature_declares(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path, {"id": [1]}, "_shop=007/a.parquet")
    write(tmp_path, {"id": [2]}, "_shop=__HIVE_DEFAULT_PARTITION__/a.parquet")
    assert values(table(spark, tmp_path, {"_shop": "double"})) == [(1, 7.0), (2, None)]


def test_types_arrive_as_they_were_written(spark: SparkSession, tmp_path: Path) -> None:
    data = {
        "n": pa.array([2**53 + 1, None], pa.int64()),
        "price": pa.array([Decimal("12.3400"), None], pa.decimal128(20, 4)),
        "at": pa.array([1, None], pa.timestamp("us", "UTC")),
        "local": pa.array([1, None], pa.timestamp("us")),
        "day": pa.array([1, None], pa.date32()),
        "v": pa.array([[1.0, None], None], pa.list_(pa.float64())),
        "raw": pa.array([b"\x00\xff", None], pa.binary()),
        "a.b [c] `d`": pa.array(["x", None]),
        "_metadata": pa.array(["mine", None]),
    }
    found = table(spark, write(tmp_path, data))
    assert [f.dataType.simpleString() for f in found.schema] == [
        "bigint", "decimal(20,4)", "timestamp", "timestamp_ntz", "date", "array<double>", "binary", "string", "string",
    ]  # fmt: skip
    first = found.frame.select("n", "price", "v", "_metadata").first()
    assert tuple(first) == (2**53 + 1, Decimal("12.3400"), [1.0, None], "mine")


SOME_OF_EACH = {
    "plain": {"b": [True], "i": pa.array([1], pa.int32()), "l": [1], "f": pa.array([1], pa.float32()), "d": [0.5],
              "s": ["x"], "day": [date(2026, 1, 1)], "large": pa.array(["x"], pa.large_string())},
    "narrow": {"i8": pa.array([1], pa.int8()), "i16": pa.array([1], pa.int16())},
    "unsigned": {"u8": pa.array([1], pa.uint8()), "u32": pa.array([1], pa.uint32()), "u64": pa.array([1], pa.uint64())},
    "times": {"utc": pa.array([0], pa.timestamp("us", "UTC")), "local": pa.array([0], pa.timestamp("ms"))},
    "exact": {"p": pa.array([Decimal("1.5")]), "raw": [b"x"], "fixed": pa.array([b"xy"], pa.binary(2))},
    "nested": {"a": [[1, 2]], "m": [{"x": 1}], "deep": [[{"y": ["z"]}]]},
    "a dictionary": {"c": pa.array(["x"]).dictionary_encode()},
    "a name with a dot": {"a.b": [1]},
}  # fmt: skip


@pytest.mark.parametrize("kind", SOME_OF_EACH)
def test_columns_are_typed_as_spark_types_them(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    for name, column in SOME_OF_EACH[kind].items():  # one by one: a column that is not known hides the others
        file = write(tmp_path / name, {name: column})
        mine = spark_types(pq.read_metadata(file))
        assert (mine is not None) == (kind in ("plain", "a dictionary", "a name with a dot")), name
        assert table(spark, tmp_path / name).schema == spark.read.parquet(str(tmp_path / name)).schema


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.time64("us")])
def test_what_spark_refuses_is_not_read_as_the_number_it_is_stored_as(
    spark: SparkSession, tmp_path: Path, kind: pa.DataType
) -> None:
    write(tmp_path, {"t": pa.array([0], kind)})
    with pytest.raises(ConfigInvalid, match="Spark refuses to read"):
        table(spark, tmp_path)


@pytest.mark.parametrize(
    ("query", "known"),
    [
        ("SELECT id, double(id) d, string(id) s, date '2026-01-01' day, now() t FROM range(3)", True),
        ("SELECT to_timestamp_ntz('2026-01-01') n, CAST(id AS decimal(9, 2)) p FROM range(3)", False),
        ("SELECT array(id) a, named_struct('x', id) m FROM range(3)", False),
        ("SELECT tinyint(id) b FROM range(3)", False),
    ],
)
def test_what_spark_has_written_is_typed_as_it_noted(
    spark: SparkSession, tmp_path: Path, query: str, known: bool
) -> None:
    folder = tmp_path / "t"
    spark.sql(query).coalesce(1).write.parquet(str(folder))
    (file,) = folder.glob("*.parquet")
    assert (spark_types(pq.read_metadata(file)) is not None) == known
    assert table(spark, folder).schema == spark.read.parquet(str(folder)).schema


@pytest.mark.parametrize(
    "note", ["StructType(List(StructField(id,LongType,true)))", "{}", "[]", '{"fields": [{}]}', "\u00e4"]
)
def test_a_note_that_is_none_of_sparks_is_left_to_spark(
    spark: SparkSession, tmp_path: Path, note: str
) -> None:
    noted = {"org.apache.spark.sql.parquet.row.metadata": note}
    file = write(tmp_path, pa.table({"id": [1]}).replace_schema_metadata(noted))
    assert spark_types(pq.read_metadata(file)) is None
    assert source.parquet_files.check(input_files.list_files(str(file))).types is None


def test_plain_columns_cost_no_job(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path, SOME_OF_EACH["plain"])
    spark.sparkContext.setJobGroup("plain columns", "")
    try:
        table(spark, tmp_path)
        assert spark.sparkContext.statusTracker().getJobIdsForGroup("plain columns") == []
        spark.read.parquet(str(tmp_path))  # the group is counted: asking Spark is a job
        assert len(spark.sparkContext.statusTracker().getJobIdsForGroup("plain columns")) == 1
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]


def test_what_only_the_memory_of_the_writer_differs_in_is_the_same_column(
    spark: SparkSession, tmp_path: Path
) -> None:
    plain = pa.table({"s": ["a"], "v": [[1]]})
    write(tmp_path, plain, "a.parquet")
    write(
        tmp_path,
        pa.table({"s": pa.array(["b"]).dictionary_encode(), "v": pa.array([[2]], pa.large_list(pa.int64()))}),
        "b.parquet",
    )
    write(tmp_path, pa.table({"s": pa.array(["c"], pa.large_string()), "v": [[3]]}), "c.parquet")
    assert values(table(spark, tmp_path)) == [("a", [1]), ("b", [2]), ("c", [3])]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"id": [1]}, "column 'x' is missing"),
        ({"id": [1], "x": [1.0], "y": [1]}, "column 'y' is new"),
        ({"id": [1], "x": [1]}, "column 'x' is int64, not double"),
        ({"ID": [1], "x": [1.0]}, "column 'id' is missing; column 'ID' is new"),
        ({"id": [1], "x": pa.array([None], pa.null())}, "column 'x' is null, not double"),
    ],
)
def test_files_that_differ_are_refused_by_name(
    spark: SparkSession, tmp_path: Path, other: Any, said: str
) -> None:
    write(tmp_path, {"id": [1], "x": [0.5]}, "a.parquet")
    write(tmp_path, other, "b.parquet")
    with pytest.raises(ConfigInvalid, match=rf"b\.parquet: differs from .*a\.parquet: {said}") as caught:
        table(spark, tmp_path)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", r"is empty \(zero bytes\)"),
        (b"id,x\n1,2\n", "is not readable as Parquet"),
        (b"PAR1" + b"\x00" * 40 + b"PAR1", "is not readable as Parquet"),
        (b"PAR1", "is not readable as Parquet"),
    ],
    ids=["zero bytes", "CSV", "no footer", "four bytes"],
)
def test_a_file_that_is_no_parquet_is_named(
    spark: SparkSession, tmp_path: Path, data: bytes, said: str
) -> None:
    write(tmp_path, {"id": [1]}, "a.parquet")
    (tmp_path / "b.parquet").write_bytes(data)
    with pytest.raises(InputUnavailable, match=rf"b\.parquet: {said}") as caught:
        table(spark, tmp_path)
    assert caught.value.exit_code == 66


def test_a_file_cut_short_is_named(spark: SparkSession, tmp_path: Path) -> None:
    file = write(tmp_path, {"id": list(range(1000))})
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputUnavailable, match=r"part\.parquet: is not readable as Parquet"):
        table(spark, tmp_path)


@pytest.mark.parametrize("name", ["a[1].parquet", "a{b,c}.parquet", "a b+%41.parquet"])
def test_a_file_name_means_itself(spark: SparkSession, tmp_path: Path, name: str) -> None:
    write(tmp_path, {"id": [2]}, "a1.parquet")
    assert values(table(spark, write(tmp_path, {"id": [1]}, name))) == [(1,)]


def test_a_folder_with_brackets_means_itself_and_keeps_its_partitions(
    spark: SparkSession, tmp_path: Path
) -> None:
    write(tmp_path, {"id": [1]}, "run [1]/day=1/a.parquet")
    assert values(table(spark, tmp_path / "run [1]")) == [(1, "1")]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["__mask0", "id"], r"columns \['__mask0'\]"),
        (["id", "ID"], "Spark refuses to read.*COLUMN_ALREADY_EXISTS"),
    ],
)
def test_column_names_that_cannot_be_told_apart_are_refused(
    spark: SparkSession, tmp_path: Path, names: list[str], said: str
) -> None:
    with pytest.raises(ConfigInvalid, match=said):
        table(spark, write(tmp_path, pa.table([[1], [2]], names=names)))


def test_the_index_that_pandas_leaves_is_a_column_like_any_other(spark: SparkSession, tmp_path: Path) -> None:
    assert values(table(spark, write(tmp_path, {"id": [1], "__index_level_0__": [7]}))) == [(1, 7)]


def test_an_option_that_could_lose_files_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"source\.options\.ignoreCorruptFiles: found True"):
        table(spark, write(tmp_path, {"id": [1]}), options={"ignoreCorruptFiles": True})
