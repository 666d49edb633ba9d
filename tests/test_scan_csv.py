"""CSV that workers read for themselves: the same rows as Spark's reader gives, and what is not certain is Spark's."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as trials
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines import csv_files, input_files, source
from pipelines.config import Source
from pipelines.csv_forms import NoForm, line_form
from pipelines.rules import never_null
from pipelines.scoring import text
from pipelines.scoring.units import Piece
from pipelines.session import RUN_SETTINGS, settings

KINDS = {
    "boolean": "true", "tinyint": "7", "smallint": "7", "int": "7", "bigint": "7", "float": "1.5",
    "double": "1.5",
    "date": "2026-01-02", "timestamp": "2026-01-02 03:04:05", "timestamp_ntz": "2026-01-02 03:04:05", "string": "x",
}  # fmt: skip
NUMBERS = [
    "0", "-0", "007", "99", "119", "127", "128", "-128", "29999", "32767", "40000", "1999999999", "2147483647",
    "2147483648", "8999999999999999999", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "+5",
    "1.0", "1.", ".5", ".", "-", "--1", "1e5", "1E+5", "1e", "1e999", "-1e400", "1e-999", "4.9e-324", "0x1F", "0x1p3",
    "1.5d", "1.5f", " 2", "2 ", "\t2", "1_000", "nan", "NaN", "inf", "Inf", "-Inf", "Infinity", "9007199254740993",
    "3.4028236e38", "1e39", "16777217", "0.1000000000000000055511151231257827", "1" * 400, "2.2250738585072011e-308",
]  # fmt: skip
DAYS = [
    "2026-02-28", "2026-02-29", "2024-02-29", "2000-02-29", "1900-02-29", "2026-04-31", "2026-13-01", "2026-00-10",
    "1600-01-01", "1582-10-10", "0001-01-01", "9999-12-31", "10000-01-01", "2026-1-2", "2026-01", "2026", "26-01-02",
    " 2026-01-02", "2026-01-02T", "2026/01/02", "today", "2026-01-02 03:04:05",
]  # fmt: skip
TIMES = [
    "24:00:00", "23:59:60", "23:59:59", "03:04", "03", "3:4:5", "03:04:05.1", "03:04:05.123456", "03:04:05.1234567",
    "03:04:05.", "03:04:05Z", "03:04:05.5Z", "03:04:05z", "03:04:05+01:00", "03:04:05 UTC",
]  # fmt: skip
TEXTS = [
    " a", "a ", " ", "\t", "NULL", "\\", 'a\\"', "'a'", "#x", "é€𝄞", "\x01", "\x00", "a\x00b", "\x7f", "\u2028",
    "\u0085", "\ufeff", "\ufffd", "\xa0", 'a"b', '"a"', '"a""b"', '"', '"a', 'a"', '"a"b', ' "a"', '"a" ', '""',
    '"a;b"', '""a""',
]  # fmt: skip
CLOCK = [f"2026-05-06{between}{time}" for time in TIMES for between in " T"]
CASES = {
    "boolean": ["true", "FALSE", "True", "tRue", "1", "yes", " true", "t"],
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint", "float", "double"), NUMBERS),
    "date": [*DAYS, *CLOCK],
    "timestamp": [*DAYS, *CLOCK],
    "timestamp_ntz": [*DAYS, *CLOCK],
    "string": TEXTS,
}


@pytest.fixture(scope="module", autouse=True)
def as_in_a_run(spark: SparkSession) -> Iterator[None]:
    with settings(spark, RUN_SETTINGS):
        yield


def read_by_spark(spark: SparkSession, file: Path, kinds: list[str], sep: str) -> Any:
    """The values of the records in their order, and whether each is free of objections."""
    names = [f"c{i}" for i in range(len(kinds))]
    config = Source(format="csv", path=str(file), header=tuple(names), options={"sep": sep})
    found = source.read(
        spark, config, dict(zip(names, kinds, strict=True)), input_files.list_files(str(file))
    )
    broken = [never_null(r.predicate()).alias(f"__b{i}") for i, r in enumerate(found.rules)]
    table = found.frame.select("*", *broken).coalesce(1).toArrow()
    good = ~np.any([table[f"__b{i}"].to_numpy() for i in range(len(broken))], axis=0)
    return table.select(names), good, line_form(list(zip(names, kinds, strict=True)), found.options or {})


def disagreements(spark: SparkSession, folder: Path, lines: list[bytes], kinds: list[str], sep: str) -> Any:
    """Plain lines of which Spark's reader makes something else, and the set of plain lines."""
    file = folder / "lines.csv"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    table, good, form = read_by_spark(spark, file, kinds, sep)
    wrong, plain, at = [], set(), 0
    for line in lines:
        block = text._block(form, line + b"\n", 0, 0)
        if block.rows:
            mine = [column[0].as_py() for column in block.batches[0].values()]
            theirs = [column[at].as_py() for column in table.columns]
            plain.add(line)
            if not good[at] or list(map(exact, mine)) != list(map(exact, theirs)):
                wrong.append((line, mine, theirs))
        at += block.lines
    assert at == table.num_rows
    return wrong, plain


def exact(value: Any) -> Any:
    """A value that tells 0.0 from -0.0; a moment without the name of its zone."""
    if isinstance(value, float):
        return value, math.copysign(1, value)
    return value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value


PLAIN = {  # of the cases above; the others are Spark's
    "boolean": {"true", "FALSE", "True"},
    "tinyint": {"0", "-0", "99", "119"},
    "int": {"0", "-0", "007", "99", "119", "127", "128", "-128", "29999", "32767", "40000", "1999999999"},
    "double": {
        "1.", ".5", "+5", "1e5", "1E+5", "1e-999", "4.9e-324", "9007199254740993", "-0", "2.2250738585072011e-308",
        "1e39", "3.4028236e38", "0.1000000000000000055511151231257827",
    },
    "date": {"2026-02-28", "2024-02-29", "1600-01-01", "9999-12-31"},
    "timestamp": {"2026-02-28", "2026-05-06T23:59:59", "2026-05-06 03:04:05.1", "2026-05-06 03:04:05.5Z"},
    "timestamp_ntz": {"2026-02-28", "2026-05-06T23:59:59", "2026-05-06 03:04:05.123456"},
    "string": {" a", "a ", " ", "\t", "NULL", "\\", "'a'", "#x", "é€𝄞", "\ufeff", "\u2028", '"a"', '"a""b"', '""'},
}  # fmt: skip
OPEN = {  # and these are not plain, whatever else is
    "boolean": {"tRue", "1", " true"},
    "tinyint": {"127", "128", "007 ", "+5", "0x1F"},
    "int": {"2147483648", "+5", "1.0", "1e5", "0x1F", " 2", "2 ", "\t2", "1_000"},
    "double": {
        "1e999",
        "-1e400",
        "nan",
        "NaN",
        "inf",
        "Infinity",
        "0x1p3",
        "1.5d",
        " 2",
        "1" * 400,
        ".",
        "1e",
    },
    "date": {
        "2026-02-29",
        "1900-02-29",
        "2026-04-31",
        "0001-01-01",
        "2026-1-2",
        "2026",
        "2026-01-02 03:04:05",
    },
    "timestamp": {"2026-05-06 24:00:00", "2026-05-06 3:4:5", "2026-05-06 03:04:05+01:00"},
    "timestamp_ntz": {"2026-05-06 03:04:05Z"},
    "string": {"\x00", "\ufffd", 'a"b', '"a', '"a"b', ' "a"', '"a" '},
}


@pytest.mark.parametrize("kind", CASES)
def test_every_form_that_is_read_here_spark_reads_alike(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    values = ["", KINDS[kind], *CASES[kind]]
    quoted = [f'"{v}"' for v in values]
    lines = [f"k;{v}".encode() for v in (*values, *quoted)]
    wrong, plain = disagreements(spark, tmp_path, lines, ["string", kind], ";")
    assert wrong == []
    assert {f"k;{v}".encode() for v in ("", '""', KINDS[kind], *PLAIN.get(kind, ()))} <= plain
    assert not {f"k;{v}".encode() for v in OPEN.get(kind, ())} & plain


def test_a_byte_order_mark_in_the_middle_is_a_character(spark: SparkSession, tmp_path: Path) -> None:
    lines = [b"k;7", b"\xef\xbb\xbfk;7", b"\xef\xbb\xbf\xef\xbb\xbf;7"]
    assert disagreements(spark, tmp_path, lines, ["string", "int"], ";") == ([], set(lines))


SPARKS = {
    "escape": {"escape": "\\"},
    "quote": {"quote": "'"},
    "comment": {"comment": "#"},
    "linesep": {"lineSep": "|"},
    "multiline": {"multiLine": True},
    "encoding": {"encoding": "iso-8859-1"},
    "sep": {"sep": "||"},
    "nullvalue": {"nullValue": "NA"},
    "dateformat": {"dateFormat": "dd.MM.yyyy"},
    "timestampformat": {"timestampFormat": "yyyy"},
    "ignoreleadingwhitespace": {"ignoreLeadingWhiteSpace": True},
    "maxcharspercolumn": {"maxCharsPerColumn": 5},
}


@pytest.mark.parametrize("name", SPARKS)
def test_an_option_whose_effect_is_not_known_here_is_spark_s(name: str) -> None:
    options = csv_files.options(SPARKS[name], has_header=True)
    with pytest.raises(NoForm, match=f"source.options.{name} is Spark's"):
        line_form([("a", "int")], options)


@pytest.mark.parametrize(
    "kind", ["decimal(10,2)", "binary", "varchar(3)", "char(3)", "interval day to second"]
)
def test_a_type_whose_forms_are_not_known_here_is_spark_s(kind: str) -> None:
    with pytest.raises(NoForm, match=rf"column 'a' is {re.escape(kind)}"):
        line_form([("a", kind)], csv_files.options({}, has_header=True))


values = st.one_of(
    *(st.sampled_from([KINDS[kind], "", *CASES[kind]]) for kind in KINDS),
    st.floats(allow_nan=False).map(repr),
    st.integers(-(2**64), 2**64).map(str),
    st.dates().map(str),
    st.datetimes().map(str),
    st.text(st.characters(exclude_characters="\n\r", exclude_categories=("Cs",)), max_size=4),
)
odd_bytes = st.sampled_from(
    [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b'"', b'""', b" ", b"\t"]
)


@st.composite
def dirty_lines(draw: Any, kinds: list[str], sep: str) -> bytes:
    """A line of which one or two fields, or none, are not what the type's simplest form is."""
    fields = [KINDS[kind] for kind in kinds]
    for place in draw(st.lists(st.integers(0, len(kinds) - 1), max_size=2)):
        value = draw(values)
        style = draw(st.sampled_from(["{}", "{}", '"{}"', '"{}', ' "{}"', '"{}"x']))
        fields[place] = style.format(value.replace('"', '""') if draw(st.booleans()) else value)
    line = sep.join(fields[: len(kinds) - draw(st.sampled_from([0] * 9 + [1, -1]))]).encode()
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(odd_bytes) + line[at:]
    return draw(st.sampled_from([line] * 20 + [b"", b"  ", b"\t", sep.encode() * (len(kinds) - 1)]))


@trials(
    max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.data())
def test_no_line_is_read_otherwise_than_spark_reads_it(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    kinds = data.draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=12))
    sep = data.draw(st.sampled_from([",", ";", "|", "\t"]))
    lines = data.draw(st.lists(dirty_lines(kinds, sep), min_size=150, max_size=150))
    folder = tmp_path_factory.mktemp("lines")
    first = sep.join(KINDS[kind] for kind in kinds).encode()
    wrong, plain = disagreements(spark, folder, [first, *lines], kinds, sep)
    assert wrong == []
    assert first in plain


breaks = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r", b"\n\n"])
texts = st.lists(
    st.tuples(st.sampled_from([b"", b" ", b"1,a", b"2,b", b"3,x,y", b'4,"', b"5"]), breaks), max_size=60
)


@given(texts, st.booleans(), st.integers(1, 40), st.integers(1, 30), st.sampled_from(["", "bom", "cut"]))
@trials(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_hold_every_line_once_wherever_a_text_is_cut(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: Any,
    header: bool,
    size: int,
    block: int,
    form: str,
) -> None:
    monkeypatch.setattr(text, "_BLOCK", block)
    body = b"".join(line + end for line, end in lines)
    body = body.rstrip(b"\r\n") if form == "cut" else body
    file = tmp_path / "t.csv"
    start = (b"\xef\xbb\xbf" if form == "bom" else b"") + (b"id,s\n" if header else b"")
    file.write_bytes(start + body)
    whole = len(start + body)
    options = csv_files.options({}, has_header=header)
    found = []
    lines_counted, ends = 0, [0]
    for place in range(0, whole, size):
        for b in text.blocks(
            line_form([("id", "int"), ("s", "string")], options), _piece(file, place, size, whole)
        ):
            assert b.start == ends[-1]
            ends.append(b.stop)
            lines_counted += b.lines
            found += [line for line in re.split(rb"\r\n|\n|\r", b.rest) if line]
            for batch in b.batches:
                pairs = zip(*(a.to_pylist() for a in batch.values()), strict=True)
                found += [f"{i},{s}".encode() for i, s in pairs]
    expected = [line for line in re.split(rb"\r\n|\n|\r", body) if line.strip()]
    assert Counter(found) == Counter(expected)
    assert lines_counted == len(expected)
    assert ends[-1] == whole


def _piece(file: Path, start: int, size: int, whole: int) -> Piece:
    return Piece(str(file), (start,), 1, min(size, whole - start))
