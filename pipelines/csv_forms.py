"""Lines of CSV that everybody reads alike, as one regular expression: Arrow may read those, Spark reads the rest.

Spark's parser and Arrow's agree on most texts and differ on some: a blank before an integer, ``0x1F``, ``1.5d``,
``nan``, a quote in the middle of a field. Nobody has to know all of these. A line is *plain* if it has as many fields
as there are columns and each is empty or of a form, given here per type, of which both are known to make the same
value. Forms are made so that no conversion can fail: 20 digits are no bigint, 30 February is no date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

_SEPARATORS = {",": ",", ";": ";", "|": "|", "\t": "\t", "\\t": "\t"}
# reader options whose effect is known here; any other value or option is left to Spark
_KNOWN = {"escape": '"', "quote": '"', "multiline": "false", "encoding": "utf-8", "mode": "PERMISSIVE"}
_DECIDED = {"columnpruning", "header", "enforceschema", "sep"}

_LEAP = r"(?:1[6-9]|[2-9][0-9])(?:0[48]|[2468][048]|[13579][26])-02-29"
_YEAR = r"(?:1[6-9]|[2-9][0-9])[0-9][0-9]"  # from 1600 on there is one calendar
_DATE = (
    rf"(?:{_YEAR}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)"
    rf"|(?:0[13578]|1[02])-31)|{_LEAP})"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_REAL = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"

TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_FORMS: dict[str, tuple[pa.DataType, str]] = {
    "boolean": (pa.bool_(), "|".join((*TRUE, *FALSE))),
    "tinyint": (pa.int8(), r"-?(?:[0-9]{1,2}|1[01][0-9])"),
    "smallint": (pa.int16(), r"-?(?:[0-9]{1,4}|[12][0-9]{4})"),
    "int": (pa.int32(), r"-?(?:[0-9]{1,9}|1[0-9]{9})"),
    "bigint": (pa.int64(), r"-?(?:[0-9]{1,18}|[1-8][0-9]{18})"),
    "float": (pa.float32(), _REAL),
    "double": (pa.float64(), _REAL),
    "date": (pa.date32(), _DATE),
    "timestamp": (pa.timestamp("us", "UTC"), rf"{_DATE}(?:[ T]{_TIME}Z?)?"),  # a run's time zone is UTC
    "timestamp_ntz": (pa.timestamp("us"), rf"{_DATE}(?:[ T]{_TIME})?"),
}
# A character of text beyond ASCII, byte by byte: valid UTF-8, and not U+FFFD, which tells of bytes that were none.
_WIDE = (
    r"[\x{C2}-\x{DF}][\x{80}-\x{BF}]|\x{E0}[\x{A0}-\x{BF}][\x{80}-\x{BF}]"
    r"|[\x{E1}-\x{EC}\x{EE}][\x{80}-\x{BF}]{2}|\x{ED}[\x{80}-\x{9F}][\x{80}-\x{BF}]"
    r"|\x{EF}[\x{80}-\x{BE}][\x{80}-\x{BF}]|\x{EF}\x{BF}[\x{80}-\x{BC}\x{BE}\x{BF}]"
    r"|\x{F0}[\x{90}-\x{BF}][\x{80}-\x{BF}]{2}|[\x{F1}-\x{F3}][\x{80}-\x{BF}]{3}|\x{F4}[\x{80}-\x{8F}][\x{80}-\x{BF}]{2}"
)
BLANK = r"^[\x00-\x20]*$"  # Spark passes over such a line


class NoForm(Exception):
    """Spark must read this input; the message says why."""


@dataclass(frozen=True)
class LineForm:
    """How to tell a plain line, and how to read it. ``plain`` and ``BLANK`` are RE2 patterns over the bytes of a line
    with its line break; ``kinds`` are Spark's names of the types in ``schema``."""

    schema: pa.Schema
    kinds: tuple[str, ...]
    separator: str
    header: bool
    plain: str


def line_form(fields: Sequence[tuple[str, str]], options: Mapping[str, str]) -> LineForm:
    """The form of the lines of files with these columns (name, Spark type).

    Args:
        options: from :func:`pipelines.csv_files.options`.

    Raises:
        NoForm: an option or a type is not known here.
    """
    for name, value in options.items():
        if name not in _DECIDED and _KNOWN.get(name) != value:
            raise NoForm(f"source.options.{name} is Spark's")
    separator = _SEPARATORS.get(options.get("sep", ","))
    if separator is None:
        raise NoForm("source.options.sep is Spark's")
    for name, kind in fields:
        if kind != "string" and kind not in _FORMS:
            raise NoForm(f"column {name!r} is {kind}")
    kinds = tuple(kind for _, kind in fields)
    types = [pa.string() if kind == "string" else _FORMS[kind][0] for kind in kinds]
    pattern = re.escape(separator).join(_field(kind, separator) for kind in kinds)
    schema = pa.schema([pa.field(name, t) for (name, _), t in zip(fields, types, strict=True)])
    return LineForm(schema, kinds, separator, options["header"] == "true", f"^{pattern}\r?\n$")


def _field(kind: str, separator: str) -> str:
    """Empty, or of the type's form, in quotes or not."""
    if kind != "string":
        form = _FORMS[kind][1]
        return rf'(?:{form}|"(?:{form})?")?'
    return rf'(?:(?:{_bare(separator)}|{_WIDE})*|"(?:[\t\x20!#-~]|""|{_WIDE})*")'


def _bare(separator: str) -> str:
    """Printable ASCII and the tab without the quote and the separator. Other control characters are rare, and mean
    something to somebody."""
    if separator == "\t":
        return r"[\x20!#-~]"
    before, after = (f"\\x{{{ord(separator) + step:X}}}" for step in (-1, 1))
    return rf"[\t\x20!#-{before}{after}-~]"
