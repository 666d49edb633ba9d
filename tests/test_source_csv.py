"""CSV as it comes: every record is a row or a named problem, none is lost and none is made up."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines import input_files, source
from pipelines.config import Source
from pipelines.errors import ConfigInvalid, InputUnavailable, ScorelineError
from pipelines.rules import never_null
from pipelines.session import RUN_SETTINGS, settings

TYPES = {"id": "bigint", "x": "double", "s": "string"}
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module", autouse=True)
def as_in_a_run(spark: SparkSession) -> Iterator[None]:
    with settings(spark, RUN_SETTINGS):
        yield


def table(
    spark: SparkSession, path: Path | str, wanted: Mapping[str, str] = TYPES, **given: Any
) -> source.SourceTable:
    config = Source(format="csv", path=str(path), **given)
    return source.read(spark, config, {**wanted, **config.types}, input_files.list_files(config.path))


def write(folder: Path, data: bytes | str, name: str = "in.csv") -> Path:
    file = folder / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return file


def rows(found: source.SourceTable) -> tuple[Rows, list[tuple[str | None, list[str]]]]:
    """The values of the records that can be read, and (raw text, reasons) of those that cannot."""
    verdicts = [never_null(r.predicate()).alias(r.name) for r in found.rules]
    good, bad = [], []
    for row in found.frame.select("*", *verdicts).collect():
        broken = [r.name for r in found.rules if row[r.name]]
        values = tuple(row)[: len(found.schema)]
        if broken:
            bad.append((row[source.RAW], broken))
        else:
            good.append(values)
    return good, bad


def read(spark: SparkSession, folder: Path, data: bytes | str, **given: Any) -> tuple[Rows, Any]:
    return rows(table(spark, write(folder, data), **given))


MALFORMED = ["malformed_record"]
OPEN = ["malformed_record", "open_quote"]

RECORDS = [
    ("declared types", "1,2.5,a\n9223372036854775807,-0.0,\n", [(1, 2.5, "a"), (2**63 - 1, -0.0, None)], []),
    ("no line break at the end", "1,2.5,a", [(1, 2.5, "a")], []),
    ("blank lines", "\n1,2.5,a\n\n  \n2,1,b\n\n", [(1, 2.5, "a"), (2, 1.0, "b")], []),
    ("carriage returns", "1,2.5,a\r\n2,1,b\r\n", [(1, 2.5, "a"), (2, 1.0, "b")], []),
    ("quotes", '1,2.5,"a, ""b"""\n"2","3",""\n', [(1, 2.5, 'a, "b"'), (2, 3.0, None)], []),
    ("an inch mark, quoted as it should be", '1,2.5,"5"" pipe"\n', [(1, 2.5, '5" pipe')], []),
    ("a text for a number", "1,high,a\n2,1,b\n", [(2, 1.0, "b")], [("1,high,a", MALFORMED)]),
    ("a fraction for an integer", "1.0,1,a\n", [], [("1.0,1,a", MALFORMED)]),
    ("a number beyond bigint", "9223372036854775808,1,a\n", [], [("9223372036854775808,1,a", MALFORMED)]),
    ("a blank before a number", " 1,1,a\n", [], [(" 1,1,a", MALFORMED)]),
    ("too few fields", "1,2.5\n", [], [("1,2.5", MALFORMED)]),
    ("too many fields", "1,2.5,a,b\n", [], [("1,2.5,a,b", MALFORMED)]),
    ("the header again", "1,2.5,a\nid,x,s\n", [(1, 2.5, "a")], [("id,x,s", MALFORMED)]),
    ("infinity", "1,1e999,a\n2,-Infinity,b\n3,Infinity,c\n", [], [(None, ["not_finite(x)"])] * 3),
    ("bytes of another encoding", b"1,2.5,caf\xe9\n2,1,b\n", [(2, 1.0, "b")], [(None, ["wrong_encoding(s)"])]),
    (
        "a line break in quotes, not declared",
        '1,2.5,"one\ntwo"\n2,1,b\n',
        [(2, 1.0, "b")],
        [('1,2.5,"one', OPEN), ('two"', OPEN)],
    ),
    ("an open quote", '1,2.5,"one\n2,1,b\n', [(2, 1.0, "b")], [('1,2.5,"one', OPEN)]),
    ("a control character that separates nothing", "1,2.5,a\x01b\n", [(1, 2.5, "a\x01b")], []),
    ("a NUL", "1,2.5,a\x00b\n", [(1, 2.5, "a\x00b")], []),
]  # fmt: skip


@pytest.mark.parametrize(("data", "good", "bad"), [r[1:] for r in RECORDS], ids=[r[0] for r in RECORDS])
def test_each_record_is_read_or_named(
    spark: SparkSession, tmp_path: Path, data: Any, good: Rows, bad: Any
) -> None:
    body = data if isinstance(data, bytes) else data.encode()
    assert read(spark, tmp_path, b"id,x,s\n" + body) == (good, bad)


def test_half_of_a_record_that_looks_whole_is_not_taken_for_one(spark: SparkSession, tmp_path: Path) -> None:
    text = 'a,b,c\n1,2,3\n"Once upon\na time",5,6\n7,8,9\n'
    good, bad = read(spark, tmp_path, text)
    assert good == [("1", "2", "3"), ("7", "8", "9")]
    assert bad == [('"Once upon', OPEN), ('a time",5,6', OPEN)]


def test_a_malformed_field_is_found_even_where_nobody_asks_for_its_column(
    spark: SparkSession, tmp_path: Path
) -> None:
    found = table(spark, write(tmp_path, "id,x,s\n1,high,a\n2,1,b\n"))
    assert [r[0] for r in found.frame.select(source.RAW).collect()] == ["1,high,a", None]
    assert found.frame.where("id = 2").select("id").count() == 1


def test_the_typed_part_of_a_malformed_record_is_kept_beside_its_text(
    spark: SparkSession, tmp_path: Path
) -> None:
    found = table(spark, write(tmp_path, "id,x,s\n7,high,a\n"))
    (row,) = found.frame.collect()
    assert (row["id"], row["x"], row["s"], row[source.RAW]) == (7, None, "a", "7,high,a")
    assert row[source.FILE].endswith("/in.csv")


DIALECTS = [
    ("a mark at the beginning", b"\xef\xbb\xbfid,x,s\r\n1,2.5,a\r\n", {}),
    ("a mark and a quoted header", b'\xef\xbb\xbf"id","x","s"\n1,2.5,a\n', {}),
    ("a mark, no header", b"\xef\xbb\xbf1,2.5,a\n", {"header": ("id", "x", "s")}),
    ("UTF-16", "id,x,s\n1,2.5,a\n".encode("utf-16"), {"options": {"encoding": "UTF-16"}}),
    ("UTF-16LE", "id,x,s\n1,2.5,a\n".encode("utf-16le"), {"options": {"charset": "utf-16LE"}}),
    ("semicolons", b"id;x;s\n1;2.5;a\n", {"options": {"delimiter": ";"}}),
    ("tabs, as a character", b"id\tx\ts\n1\t2.5\ta\n", {"options": {"sep": "\t"}}),
    ("tabs, as an escape", b"id\tx\ts\n1\t2.5\ta\n", {"options": {"SEP": "\\t"}}),
    ("two characters between fields", b"id||x||s\n1||2.5||a\n", {"options": {"sep": "||"}}),
    ("comments", b"# of today\nid,x,s\n# one\n1,2.5,a\n", {"options": {"comment": "#"}}),
    ("blanks after commas", b"id, x, s\n1, 2.5, a\n", {"options": {"ignoreLeadingWhiteSpace": True}}),
    ("old line ends", b"id,x,s\r1,2.5,a\r", {}),
    ("line ends of its own", b"id,x,s|1,2.5,a|", {"options": {"lineSep": "|"}}),
    ("blank lines before the header", b"\n\nid,x,s\n1,2.5,a\n", {}),
    ("quoting by apostrophe", b"'id',x,s\n1,2.5,'a'\n", {"options": {"quote": "'"}}),
    ("values for NULL", b"id,x,s\n1,2.5,a\n", {"options": {"nullValue": "NA"}}),
    ("whole files", b"id,x,s\n1,2.5,a\n", {"options": {"multiLine": "TRUE"}}),
]


@pytest.mark.parametrize(("data", "given"), [d[1:] for d in DIALECTS], ids=[d[0] for d in DIALECTS])
def test_dialects_that_are_declared_are_read(
    spark: SparkSession, tmp_path: Path, data: bytes, given: Any
) -> None:
    assert read(spark, tmp_path, data, **given) == ([(1, 2.5, "a")], [])


def test_latin_1_is_read_when_it_is_declared(spark: SparkSession, tmp_path: Path) -> None:
    data = "id,x,größe\n1,2.5,ÿ\n".encode("latin-1")
    assert read(spark, tmp_path, data, options={"encoding": "ISO-8859-1"}) == ([(1, 2.5, "ÿ")], [])


def test_without_quoting_a_quote_is_a_character(spark: SparkSession, tmp_path: Path) -> None:
    for off in ("", None):
        assert read(spark, tmp_path, 'id,x,s\n1,2.5,5" pipe\n', options={"quote": off}) == (
            [(1, 2.5, '5" pipe')],
            [],
        )


def test_a_quote_that_is_escaped_opens_nothing(spark: SparkSession, tmp_path: Path) -> None:
    text = 'id,x,s\n1,2.5,"a\\"b"\n2,1,"c\\\\"\n3,1,"d\n'
    good, bad = read(spark, tmp_path, text, options={"escape": "\\"})
    assert good == [(1, 2.5, 'a"b'), (2, 1.0, "c\\")]
    assert bad == [('3,1,"d', OPEN)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quoted_line_breaks_are_kept_as_they_are_when_declared(
    spark: SparkSession, tmp_path: Path, end: str
) -> None:
    text = f'id,x,s{end}1,2.5,"one{end}two"{end}2,1,b{end}'
    expected = [(1, 2.5, f"one{end}two"), (2, 1.0, "b")]
    assert read(spark, tmp_path, text, options={"multiLine": True}) == (expected, [])


def test_a_quote_never_closed_does_not_swallow_the_rest_of_a_file(
    spark: SparkSession, tmp_path: Path
) -> None:
    with pytest.raises(InputUnavailable, match=r"in\.csv: holds an odd number of quotes"):
        read(spark, tmp_path, 'id,x,s\n1,2.5,"one\n2,1,b\n3,1,c\n', options={"multiLine": True})


@pytest.mark.parametrize(("name", "pack"), [("in.csv.gz", gzip.compress), ("in.csv.bz2", bz2.compress)])
def test_compressed_files_are_read(spark: SparkSession, tmp_path: Path, name: str, pack: Any) -> None:
    assert rows(table(spark, write(tmp_path, pack(b"id,x,s\n1,2.5,a\n"), name))) == ([(1, 2.5, "a")], [])


def test_several_files_are_one_table_and_empty_ones_add_nothing(spark: SparkSession, tmp_path: Path) -> None:
    for name, text in {
        "a.csv": "id,x,s\n1,1,a\n",
        "b.csv": '"id",x,s\n2,2,b\n',
        "c.csv": "",
        "d.csv": "id,x,s\n",
    }.items():
        write(tmp_path, text, name)
    write(tmp_path, "no data", "_SUCCESS")
    write(tmp_path, "no data", ".a.csv.crc")
    for path in (tmp_path, tmp_path / "*", f"file://{tmp_path}", tmp_path / "[abcd].csv"):
        found = table(spark, path)
        assert len(found.files) == 4
        assert sorted(rows(found)[0]) == [(1, 1.0, "a"), (2, 2.0, "b")]
    assert sorted(r[0][-5:] for r in found.frame.select(source.FILE).collect()) == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    "name", ["a[1].csv", "a{1}.csv", "a *.csv", "a?.csv", "größe %20.csv", "a\\b.csv", "a'b.csv", "a,b.csv"]
)
def test_a_file_name_means_itself(spark: SparkSession, tmp_path: Path, name: str) -> None:
    write(tmp_path, "id,x,s\n2,1,b\n", "a1.csv")
    found = table(spark, write(tmp_path, "id,x,s\n1,2.5,a\n", name))
    assert rows(found) == ([(1, 2.5, "a")], [])


def test_what_the_signature_and_the_configuration_are_silent_about_is_text(
    spark: SparkSession, tmp_path: Path
) -> None:
    file = write(tmp_path, "id,zip,n\n1,0042,7\n")
    assert rows(table(spark, file, {"id": "int"}))[0] == [(1, "0042", "7")]
    assert rows(table(spark, file, {"id": "int"}, types={"n": "smallint"}))[0] == [(1, "0042", 7)]


UNAVAILABLE = [
    ("nothing there", None, {}, r"nothing to read at"),
    ("zero bytes", b"", {}, r"all 1 files are empty \(zero bytes\)"),
    (
        "an HTML page",
        b"<!DOCTYPE html>\n<html><body>404</body></html>",
        {},
        "in.csv: begins like an HTML or XML page",
    ),
    ("an XML error", b"\n <?xml version='1.0'?><Error/>", {}, "in.csv: begins like an HTML or XML page"),
    (
        "an HTML page, no header",
        b"<html>a,b</html>",
        {"header": ("id", "x", "s")},
        "begins like an HTML or XML page",
    ),
]
INVALID = [
    ("UTF-16", "id,x\n1,2\n".encode("utf-16"), {}, "UTF-16 byte order mark, expected utf-8"),
    ("another encoding in the header", b"id,gr\xf6\xdfe\n1,2\n", {}, "its first line is not utf-8"),
    ("Parquet", b"PAR1\x00\x00", {}, "is Parquet, expected CSV text"),
    ("gzip without its ending", gzip.compress(b"id,x\n1,2\n"), {}, "is gzip"),
    ("a workbook", b"PK\x03\x04abc", {}, "is a zip archive or a workbook"),
    ("names twice", b"id,x,ID\n1,2,3\n", {}, r"repeated names \['id'\]"),
    ("no name", b"id,,x\n1,2,3\n", {}, r"column\(s\) \[2\] have no name"),
    ("blank lines only", b"\n \n", {}, "found nothing in the header"),
    ("a name of ours", b"id,__raw\n1,2\n", {}, r"columns \['__raw'\], names that are used on the way"),
    ("an open quote in the header", b'id,"x\n1,2\n', {}, "a quote in its first line is never closed"),
    (
        "unknown encoding",
        b"id\n1\n",
        {"options": {"encoding": "cp1252"}},
        "source.options.encoding: found 'cp1252'",
    ),
    (
        "a type for no column",
        b"id,x\n1,2\n",
        {"types": {"idd": "int"}},
        "source.types: the input has no column 'idd'; it has id, x",
    ),
    ("no such type", b"id,x\n1,2\n", {"types": {"x": "number"}}, "Spark refuses to read"),
    (
        "a type text cannot hold",
        b"id,x\n1,2\n",
        {"types": {"x": "array<int>"}},
        "source.types.x: found 'array<int>'",
    ),
    ("a separator Spark refuses", b"id,x\n1,2\n", {"options": {"quote": "''"}}, "source.options.quote"),
]


@pytest.mark.parametrize(
    ("data", "given", "said"), [u[1:] for u in UNAVAILABLE], ids=[u[0] for u in UNAVAILABLE]
)
def test_input_that_is_not_there_is_named(
    spark: SparkSession, tmp_path: Path, data: Any, given: Any, said: str
) -> None:
    if data is not None:
        write(tmp_path, data)
    with pytest.raises(InputUnavailable, match=said) as caught:
        table(spark, tmp_path / "in.csv", **given)
    assert caught.value.exit_code == 66
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("data", "given", "said"), [i[1:] for i in INVALID], ids=[i[0] for i in INVALID])
def test_input_that_is_not_as_declared_is_refused(
    spark: SparkSession, tmp_path: Path, data: Any, given: Any, said: str
) -> None:
    with pytest.raises(ConfigInvalid, match=said) as caught:
        table(spark, write(tmp_path, data), {}, **given)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    "option",
    ["mode", "MODE", "header", "inferSchema", "enforceSchema", "columnNameOfCorruptRecord", "columnPruning",
     "ignoreCorruptFiles", "ignoreMissingFiles", "pathGlobFilter", "modifiedAfter", "recursiveFileLookup"],
)  # fmt: skip
def test_an_option_that_could_lose_rows_is_refused(spark: SparkSession, tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"(?i)source\.options\.{option}"):
        table(spark, write(tmp_path, "id,x,s\n1,1,a\n"), options={option: "true"})


@pytest.mark.parametrize("other", ["id,s,x\n", "id,x\n", "id,x,s,t\n", "1,2.5,a\n", "ID,x,s\n"])
def test_files_whose_headers_differ_are_refused_by_name(
    spark: SparkSession, tmp_path: Path, other: str
) -> None:
    write(tmp_path, "id,x,s\n1,1,a\n", "a.csv")
    write(tmp_path, other, "b.csv")
    with pytest.raises(
        ConfigInvalid, match=r"b\.csv: found the header .* expected \['id', 'x', 's'\] as in .*a\.csv"
    ):
        table(spark, tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"no gzip at all",
        gzip.compress(b"id,x,s\n1,1,a\n")[:14],
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage",
    ],
    ids=["plain text", "cut short", "garbage"],
)
def test_a_broken_archive_is_named(spark: SparkSession, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputUnavailable, match=r"in\.csv\.gz: cannot be read"):
        table(spark, write(tmp_path, data, "in.csv.gz"))


@pytest.mark.parametrize("path", ["s3://bucket/x.csv", "nonsense://x/y/*.csv"])
def test_a_store_whose_connector_is_missing_is_refused_with_a_way_out(spark: SparkSession, path: str) -> None:
    with pytest.raises(InputUnavailable, match=r"No FileSystem for scheme") as caught:
        input_files.list_files(path)
    assert "--packages" in caught.value.hint


@pytest.mark.parametrize("path", ["nowhere", "nowhere/*.csv", "nowhere/[", "empty"])
def test_a_path_that_leads_to_nothing_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputUnavailable, match="nothing to read at") as caught:
        input_files.list_files(str(tmp_path / path))
    assert str(tmp_path / path) in str(caught.value)


@pytest.mark.parametrize("name", ["_hidden.csv", ".hidden.csv", "10:30.csv"])
def test_a_file_that_spark_would_pass_over_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, "id\n1\n", name)
    with pytest.raises(InputUnavailable, match="Spark cannot read a file whose name"):
        input_files.list_files(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    write(tmp_path, "id\n1\n").chmod(0)
    with pytest.raises(InputUnavailable, match=r"in\.csv' is not readable"):
        input_files.list_files(str(tmp_path))


def test_a_file_cut_within_a_line_is_warned_of(spark: SparkSession, tmp_path: Path) -> None:
    whole = table(spark, write(tmp_path, "id,x,s\n1,1,a\n", "whole.csv"))
    cut = table(spark, write(tmp_path, "id,x,s\n1,1,a", "cut.csv"))
    assert whole.warnings == ()
    assert "1 file(s) end without a line break, perhaps cut short: " in cut.warnings[0]


def test_the_digest_of_the_files_changes_with_any_of_them(tmp_path: Path) -> None:
    file = write(tmp_path, "id\n1\n")
    before = input_files.files_digest(input_files.list_files(str(tmp_path)))
    assert before == input_files.files_digest(input_files.list_files(str(tmp_path)))
    os.utime(file, ns=(1, 1))
    changed = input_files.files_digest(input_files.list_files(str(tmp_path)))
    write(tmp_path, "id\n1\n", "more.csv")
    assert len({before, changed, input_files.files_digest(input_files.list_files(str(tmp_path)))}) == 3


def test_only_errors_of_ours_leave_the_reader(spark: SparkSession, tmp_path: Path) -> None:
    for i, data in enumerate(
        [b"\x00" * 40, b"\xff\xfe", os.urandom(300), b"a" * 300_000, b",,,\n", b'"', b"[1,2]\n"]
    ):
        file = write(tmp_path, data, f"{i}.csv")
        try:
            good, bad = rows(table(spark, file))
        except ScorelineError as error:
            assert str(file) in str(error) or "source" in str(error)  # noqa: PT017 - one of two outcomes
        else:
            assert len(good) + len(bad) <= data.count(b"\n") + data.count(b"\r") + 1
