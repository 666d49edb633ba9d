"""What can be known of CSV files without Spark: their header lines, and reader options that lose nothing."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any, cast

from pipelines import storage
from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.records import InputFile

# The malformed part of a record must never be pruned away, nor a header be trusted unread.
_FIXED = {"mode": "PERMISSIVE", "columnpruning": "false"}
_DEFAULTS = {"escape": '"', "encoding": "utf-8"}  # RFC 4180 writes a quote inside quotes twice
_ALIASES = {"delimiter": "sep", "charset": "encoding"}
_DECIDED = ("mode", "header", "enforceschema", "inferschema", "columnnameofcorruptrecord", "columnpruning")
_ENCODINGS = (
    "utf-8",
    "us-ascii",
    "iso-8859-1",
    "utf-16",
    "utf-16le",
    "utf-16be",
    "utf-32",
)  # all Spark 4.1 reads
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
_MAGIC = {
    b"PAR1": "Parquet",
    b"\x1f\x8b": "gzip (but not named .gz)",
    b"PK\x03\x04": "a zip archive or a workbook",
}
_MARKUP = ("<html", "<!doctype", "<?xml")
_HEAD = 2**20  # characters in which a header line must end


def options(given: Mapping[str, Any], *, has_header: bool) -> dict[str, str]:
    """Spark's reader options, keys in lower case as Spark compares them: the user's, completed and checked.

    Raises:
        ConfigInvalid: an option would drop rows, is decided elsewhere or means nothing to Spark.
    """
    folded = {k.lower(): _text(v) for k, v in given.items()}
    cleaned = {_ALIASES.get(k, k): v for k, v in folded.items()}
    for name in _DECIDED:
        if name in cleaned:
            raise ConfigInvalid(
                f"source.options.{name}: found {cleaned[name]!r}, but this option is fixed so that no row is lost.",
                hint="Remove it; files without a header line get their names from source.header.",
            )
    header = {"header": "true", "enforceschema": "false"} if has_header else {"header": "false"}
    merged = {**_DEFAULTS, **cleaned, **_FIXED, **header}
    merged["encoding"] = merged["encoding"].lower()
    if merged["encoding"] not in _ENCODINGS:
        raise ConfigInvalid(
            f"source.options.encoding: found {merged['encoding']!r}, expected one of {', '.join(_ENCODINGS)}.",
            hint="Spark reads no other; convert the files to UTF-8.",
        )
    for name in ("quote", "escape", "comment"):
        if len(merged.get(name, "")) > 1:
            raise ConfigInvalid(
                f"source.options.{name}: found {merged[name]!r}, expected one character.", hint="Correct it."
            )
    if merged["encoding"].startswith(("utf-16", "utf-32")):
        merged["multiline"] = (
            "true"  # otherwise Spark cuts lines at the byte 0x0A, in the middle of characters
        )
    return merged


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def multiline(options: Mapping[str, str]) -> bool:
    """Whether a quoted field may hold line breaks."""
    return options.get("multiline", "false").lower() == "true"


def columns(
    files: Sequence[InputFile], options: Mapping[str, str], header: Sequence[str] | None
) -> list[str]:
    """The column names, which all files must share.

    Raises:
        InputUnavailable: every file is empty, or one cannot be opened or is no CSV.
        ConfigInvalid: two files disagree, or a header repeats a name or is no header.
    """
    filled = [f for f in files if f.size > 0]
    if not filled:
        raise InputUnavailable(
            f"source.path: all {len(files)} files are empty (zero bytes), first {files[0].path!r}.",
            hint="Look at the job that writes them, then run again.",
        )
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda f: _first_record(f.path, options), filled))
    if header is not None:
        return _checked(list(header), "source.header")
    names = _checked(found[0], filled[0].path)
    for file, other in zip(filled[1:], found[1:], strict=True):
        if other != names:
            raise ConfigInvalid(
                f"{file.path}: found the header {other}, expected {names} as in {filled[0].path}.",
                hint="Files of one run must have the same columns in the same order; run them apart.",
            )
    return names


def line_break(file: InputFile, options: Mapping[str, str]) -> str | None:
    r"""``\r\n`` where a multi-line file uses it and nothing is declared: Spark would turn it into ``\n`` inside
    quoted fields too."""
    if "linesep" in options:
        return None
    first = re.search(r"\r?\n|\r", _head(file.path, options))
    return "\r\n" if first and first[0] == "\r\n" else None


def check_closed(files: Sequence[InputFile], options: Mapping[str, str]) -> None:
    """Every quote of a multi-line file is closed. Spark would put all that follows an open one into one value.

    Raises:
        InputUnavailable: naming the file.
    """
    for file in files:
        if sum(quotes(line, options) for line in _lines(file.path, options)) % 2:
            raise InputUnavailable(
                f"{file.path}: holds an odd number of quotes, so that one is never closed.",
                hint="Is the file cut short? Write it again; for text without quoting set source.options.quote: ''.",
            )


def quotes(text: str, options: Mapping[str, str]) -> int:
    """How many quotes open or close something: all, but those that another escape character makes plain."""
    quote, escape = options.get("quote", '"'), options["escape"]
    if not quote:
        return 0
    if escape not in ("", quote):
        text = text.replace(escape * 2, "").replace(escape + quote, "")
    return text.count(quote)


def unfinished(files: Sequence[InputFile]) -> list[str]:
    """The paths of uncompressed files whose last line has no line break: perhaps cut short."""
    return [
        f.path
        for f in files
        if f.size > 0 and not f.path.endswith(tuple(_OPENERS)) and not _ends_line(f.path)
    ]


def _ends_line(path: str) -> bool:
    with storage.opened(path) as file:
        file.seek(-min(4, file.seek(0, io.SEEK_END)), io.SEEK_END)
        return file.read().rstrip(b"\0")[-1:] in (b"\n", b"\r")


def _first_record(path: str, options: Mapping[str, str]) -> list[str]:
    """The fields of the first record, split as Spark splits them."""
    head = _head(path, options)
    if head.lstrip("\ufeff \t\r\n").lower().startswith(_MARKUP):
        raise InputUnavailable(
            f"{path}: begins like an HTML or XML page, expected a CSV header line.",
            hint="The download probably stored an error page; fetch the file again.",
        )
    breaks = re.escape(options["linesep"]) if options.get("linesep") else r"\r\n|\n|\r"
    lines = [ln for ln in re.split(breaks, head) if ln.strip() and not _is_comment(ln, options)]
    first = lines[0] if lines else ""
    if "\ufffd" in first:
        raise ConfigInvalid(
            f"{path}: its first line is not {options['encoding']}.",
            hint="Declare the encoding in source.options.encoding.",
        )
    if quotes(first, options) % 2 and not multiline(options):
        raise ConfigInvalid(
            f"{path}: a quote in its first line is never closed: {first[:200]!r}.",
            hint="If quoted fields may hold line breaks, set source.options.multiLine: true.",
        )
    return _fields(lines if multiline(options) else lines[:1], options, path)


def _is_comment(line: str, options: Mapping[str, str]) -> bool:
    return bool(options.get("comment")) and line.startswith(options["comment"])


def _fields(lines: Sequence[str], options: Mapping[str, str], path: str) -> list[str]:
    separator = options.get("sep", ",").replace("\\t", "\t") or ","
    if len(separator) > 1:  # Python's reader takes one character only
        lines, separator = [ln.replace(separator, "\x1f") for ln in lines], "\x1f"
    quote, escape = options.get("quote", '"'), options["escape"]
    doubled = escape in ("", quote)
    style: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    if not doubled:
        style |= {"escapechar": escape, "doublequote": False}
    try:
        fields = next(csv.reader((ln + "\n" for ln in lines), delimiter=separator, **style), [])
    except csv.Error as error:
        raise InputUnavailable(
            f"{path}: its first line is no CSV ({error}).", hint="Look at the file."
        ) from error
    leading, trailing = (options.get(f"ignore{end}whitespace") == "true" for end in ("leading", "trailing"))
    fields = [f.lstrip() if leading else f for f in fields]
    return [f.rstrip() if trailing else f for f in fields]


def _head(path: str, options: Mapping[str, str]) -> str:
    with _reading(path), _open(path) as raw:
        start = raw.read(4)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and "16" not in options["encoding"]:
            raise ConfigInvalid(
                f"{path}: begins with a UTF-16 byte order mark, expected {options['encoding']}.",
                hint="Set source.options.encoding: UTF-16.",
            )
        for magic, kind in _MAGIC.items():
            if start.startswith(magic):
                raise ConfigInvalid(
                    f"{path}: is {kind}, expected CSV text.", hint="Correct source.format or the file."
                )
        raw.seek(0)
        with _decoded(raw, options) as text:
            return text.read(_HEAD)


def _lines(path: str, options: Mapping[str, str]) -> Iterator[str]:
    with _reading(path), _open(path) as raw, _decoded(raw, options) as text:
        yield from text


def _decoded(raw: IO[bytes], options: Mapping[str, str]) -> io.TextIOWrapper:
    # a wrong byte in a row is that row's problem: a rule finds the replacement character
    encoding = "utf-8-sig" if options["encoding"] == "utf-8" else options["encoding"]
    return io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="")


def _open(path: str) -> IO[bytes]:
    opener = next((o for end, o in _OPENERS.items() if path.endswith(end)), None)
    if opener is None:
        return storage.opened(path)
    return cast("IO[bytes]", opener(storage.opened(path) if storage.is_remote(path) else path, "rb"))


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise InputUnavailable(
            f"{path}: cannot be read ({error}).", hint="Check the file, then run again."
        ) from error


def _checked(names: list[str], where: str) -> list[str]:
    blank = [i + 1 for i, n in enumerate(names) if not n.strip()]
    repeated = sorted(n for n, times in Counter(n.lower() for n in names).items() if times > 1)
    if not names or blank or repeated:
        found = (
            f"column(s) {blank} have no name"
            if blank
            else f"repeated names {repeated}"
            if repeated
            else "nothing"
        )
        raise ConfigInvalid(
            f"{where}: found {found} in the header, expected distinct names.",
            hint="Correct the file, or name its columns in source.header.",
        )
    return names
