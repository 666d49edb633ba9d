"""Whole runs over CSV with both engines: what is published is the same, and little of it is done twice."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as trials
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines import run_batch, scan_input, scan_rest, unit_watch
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, InvariantBroken
from pipelines.records import InputFile
from pipelines.scoring import WorkerState, units
from pipelines.scoring.sums import Sum
from tests.batch_factory import DAY, save_model, settings, suite

HEADER = b"id,a,b,s\n"
DIRTY = b"""1,high,2,x
2,1e999,3,y
3,,4,z
4,1.5d,2,q

  \x20
5,1,2,"q""x"
6,1,2
7,1,"2,x
8,1,2,caf\xe9
"9","1","2",""
10,1,2,a"b
11,nan,2,c
12,1,2,\xef\xbf\xbd
13, 1,2,d
14,1,2,\x00
x,1,2,e
id,a,b,s
16,1,2,last"""


def clean(rows: int, start: int = 0) -> bytes:
    return "".join(f"{i},{i / 7 - 9},{i / 3 % 5},w{i % 5}\n" for i in range(start, start + rows)).encode()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m")


def configured(home: Path, model: Path, engine: str = "auto", **more: Any) -> Config:
    mean = {"column": "a", "min_value": -1, "max_value": 1}
    rules = suite(
        home,
        "in",
        {"type": "expect_column_mean_to_be_between", "kwargs": mean, "severity": "warning"},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "s"}, "severity": "warning"},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "b", "max_value": 4.9}},
    )
    source = {"format": "csv", "path": f"{home}/in", "key": ["id"], "carry": ["s"], "types": {"id": "bigint"}}
    sections = {
        "source": source | more.pop("source", {}),
        "quality": {"input": rules, "max_quarantined": 1.0},
        "drift": {"slices": ["s"]},
        "scoring": {"engine": engine},
    }
    return Config.model_validate({**settings(home, model, **sections | more), "run_date": DAY})


def write(home: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (home / "in").mkdir(parents=True, exist_ok=True)
        (home / "in" / name).write_bytes(data)


def published(home: Path) -> dict[str, list[str]]:
    """All tables as sorted text, free of what names the run or its folder."""
    found = {}
    for table in ("predictions", "quarantine", "profile_metrics"):
        columns = (
            [] if not (home / "out" / "toy" / table).is_dir() else pq.read_table(home / "out" / "toy" / table)
        )
        rows = columns.drop_columns(["run_id", "run_date"]).to_pylist() if columns else []
        for row in rows:
            if row.get("source_file"):
                row["source_file"] = row["source_file"].rpartition("/")[2]
        found[table] = sorted(json.dumps(row, default=str) for row in rows)
    return found


def compared(spark: SparkSession, home: Path, model: Path, files: dict[str, bytes], **more: Any) -> Any:
    """The records of both engines, which have published the same."""
    records, tables = {}, {}
    for engine in ("udf", "scan"):
        write(home / engine, files)
        records[engine] = run_batch(configured(home / engine, model, engine, **more), spark)
        tables[engine] = published(home / engine)
        assert records[engine].spark["engine"] == engine
    assert tables["scan"]["predictions"] == tables["udf"]["predictions"]
    assert tables["scan"]["quarantine"] == tables["udf"]["quarantine"]
    udf, scan = records["udf"], records["scan"]
    for part in ("rows", "quarantined_by", "checks"):
        assert getattr(scan, part) == getattr(udf, part)
    assert len(tables["scan"]["profile_metrics"]) == len(tables["udf"]["profile_metrics"])
    return udf, scan


def test_both_engines_publish_the_same_rows_of_dirty_files(
    spark: SparkSession, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "_SMALLEST", 500)  # files are cut within
    files = {
        "a.csv": HEADER + clean(300) + DIRTY,
        "b.csv": b"\xef\xbb\xbf\n" + (HEADER + clean(50, 1000) + DIRTY).replace(b"\n", b"\r\n"),
        "c.csv.gz": gzip.compress(HEADER + clean(50, 2000) + DIRTY),
        "d [1].csv.bz2": bz2.compress(HEADER + clean(50, 3000)),
        "e.csv": b"",
        "f.csv": HEADER,
        "g.csv": (HEADER + clean(5, 4000)).replace(b"\n", b"\r"),
    }
    _, scan = compared(spark, tmp_path, model, files)
    assert scan.rows["read"] == 455 + 3 * 17
    assert {"malformed_record", "open_quote", "not_finite(a)", "wrong_encoding(s)", "required(a)"} <= set(
        scan.quarantined_by
    )


records = st.one_of(
    st.sampled_from(DIRTY.split(b"\n")),
    st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")),
    st.tuples(st.integers(), st.floats(), st.floats(), st.text(max_size=3)).map(
        lambda r: ",".join(map(str, r)).replace("\n", "").replace("\r", "").encode("utf-8", "replace")
    ),
)


@pytest.mark.platforms
@trials(
    max_examples=2, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.lists(records, max_size=40), st.lists(records, max_size=40), st.sampled_from([b"\n", b"\r\n"]))
def test_both_engines_publish_the_same_of_whatever_is_there(
    spark: SparkSession,
    tmp_path_factory: pytest.TempPathFactory,
    model: Path,
    one: Any,
    other: Any,
    end: bytes,
) -> None:
    files = {
        "a.csv": end.join([*clean(3).splitlines(), *one, *clean(2).splitlines()]),
        "b.csv.gz": gzip.compress(end.join([*clean(2).splitlines(), *other]) + end),
    }
    named = {"header": ["id", "a", "b", "s"]}
    compared(spark, tmp_path_factory.mktemp("runs"), model, files, source=named)


def jobs(spark: SparkSession, config: Config) -> int:
    before = len(spark.sparkContext.statusTracker().getJobIdsForGroup("scoreline:toy"))
    run_batch(config, spark)
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup("scoreline:toy")) - before


def test_clean_files_take_one_job_and_lines_for_spark_one_more(
    spark: SparkSession, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "_SMALLEST", 500)
    for name, data, expected in (("clean", clean(500), 1), ("dirty", clean(500) + DIRTY * 2, 2)):
        write(tmp_path / name, {f"{i}.csv": HEADER + data for i in range(3)})
        assert jobs(spark, configured(tmp_path / name, model, "scan")) == expected


def test_why_spark_has_to_read_is_said(spark: SparkSession, tmp_path: Path, model: Path) -> None:
    cases = {
        "option": ({"options": {"nullValue": "NA"}}, clean(9), "source.options.nullvalue is Spark's"),
        "type": ({"types": {"id": "decimal(20,0)"}}, clean(9), r"column 'id' is decimal\(20,0\)"),
        "forms": (
            {},
            clean(300).replace(b",", b", "),
            "300 of 300 sampled lines are of a form that only Spark",
        ),
    }
    for name, (given_, data, reason) in cases.items():
        write(tmp_path / name, {"a.csv": HEADER + data})
        with pytest.raises(ConfigInvalid, match=f"scoring.engine: found scan, but {reason}"):
            run_batch(configured(tmp_path / name, model, "scan", source=given_), spark)
    record = run_batch(configured(tmp_path / "option", model, source=cases["option"][0]), spark)
    assert (record.spark["engine"], record.rows["read"]) == ("udf", 9)
    assert record.spark["engine_reason"] == "source.options.nullvalue is Spark's"


def test_a_second_attempt_scores_only_what_the_first_has_not(
    spark: SparkSession, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one died when everything was scored but the lines for Spark."""
    monkeypatch.setattr(units, "_SMALLEST", 500)
    data = {"a.csv": HEADER + clean(400) + DIRTY, "b.csv.gz": gzip.compress(HEADER + clean(100, 400) + DIRTY)}
    write(tmp_path, data)
    config = configured(tmp_path, model, "scan")
    with monkeypatch.context() as patch:
        patch.setattr(scan_rest, "score", _killed)
        with pytest.raises(Exception, match="killed"):
            run_batch(config, spark)
    (left,) = (tmp_path / "out" / "toy" / "_work").glob("*/units")
    committed = sorted(p.name for p in left.glob("*/*") if not p.name.startswith("."))
    assert len(committed) > 4
    record = run_batch(config, spark)
    assert record.spark["resumed_rows"] > 480
    write(tmp_path / "whole", data)
    assert run_batch(configured(tmp_path / "whole", model, "scan"), spark).rows == record.rows
    assert published(tmp_path)["predictions"] == published(tmp_path / "whole")["predictions"]
    assert published(tmp_path)["quarantine"] == published(tmp_path / "whole")["quarantine"]


def _killed(*_: Any) -> None:
    raise RuntimeError("killed")


def test_a_run_is_given_up_once_even_the_most_rows_possible_cannot_save_it(tmp_path: Path) -> None:
    """40 bytes are 10 rows of 4 fields at most; of what is packed nobody knows."""
    files = [InputFile(str(tmp_path / "a.csv"), 40, 0), InputFile(str(tmp_path / "b.csv"), 40, 0)]
    cut = units.cut([units.Part(f.path, 0, f.size // 4, f.size) for f in files])
    cut = tuple(units.Unit(str(i), (p,)) for i, p in enumerate(cut[0].pieces))

    def found(limit: float, rows: units.Rows, parts: Any = cut) -> unit_watch.Watch:
        folder = tmp_path / f"{limit}{rows}{len(parts)}"
        units.UnitFolder(folder, "0").commit(rows, {})
        watch = unit_watch.Watch(folder, parts, limit)
        watch._look()
        return watch

    over = found(0.19, units.Rows(2, 3))
    assert over.refused > 0.19 * over._rows
    assert "3 rows were quarantined when 5 of at most 15 were read" in str(over.refusal())
    assert found(0.2, units.Rows(2, 3, rest=5))._rows == 20
    packed = units.Unit(
        "1", tuple(units.cut(units.text_parts([InputFile("c.gz", 9, 0)], 4, (".gz",)))[0].pieces)
    )
    unknown = found(0.2, units.Rows(0, 5), (cut[0], packed, cut[1]))
    assert unknown.refused < 0.2 * unknown._rows


def test_a_file_that_was_not_read_as_a_whole_publishes_nothing() -> None:
    table: Any = type("Table", (), {"files": (InputFile("a.csv", 100, 0), InputFile("b.csv.gz", 9, 0))})()

    def read(**spans: list[list[int]]) -> Sum:
        return Sum(WorkerState(), [], [], 10, {f"{name}.csv": found for name, found in spans.items()})

    assert scan_rest.lines(table, read(a=[[60, 100], [0, 60]])) == 10
    for broken in ([0, 59], [0, 61], [1, 60]):
        with pytest.raises(InvariantBroken, match=r"a\.csv: the parts that were read begin at"):
            scan_rest.lines(table, read(a=[[60, 100], broken]))
    with pytest.raises(InvariantBroken, match="its 100 bytes once"):
        scan_rest.lines(table, read())


def test_a_big_text_without_line_feeds_is_spark_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_input, "_LONG", 10)
    file = tmp_path / "a.csv"
    file.write_bytes(b"a,b\r1,2\r3,4\r")
    with pytest.raises(scan_input.Unsuitable, match=r"a\.csv has no line feed in its first megabyte"):
        scan_input._check_breaks([InputFile(str(file), 12, 0)])
