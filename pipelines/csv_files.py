"""What can be known of CSV files without Spark: their header lines, and reader options that lose nothing."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, Any, cast

from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.records import InputFile

# The malformed part of a record must never be pruned away, nor a header be trusted unread.
_FIXED = {"mode": "PERMISSIVE", "columnPruning": "false"}
_DEFAULTS = {"escape": '"', "encoding": "UTF-8"}  # RFC 4180 writes a quote inside quotes twice
_ALIASES = {"delimiter": "sep", "charset": "encoding"}


def options(given: Mapping[str, Any], *, has_header: bool) -> dict[str, str]:
    """Spark's reader options: the user's, completed and checked.

    Raises:
        ConfigInvalid: an option would drop rows or is decided elsewhere.
    """
    cleaned = {_ALIASES.get(k, k): _text(v) for k, v in given.items()}
    for name in ("mode", "header", "enforceSchema", "inferSchema", "columnNameOfCorruptRecord", "columnPruning"):
        if name in cleaned:
            raise ConfigInvalid(
                f"source.options.{name}: found {cleaned[name]!r}, but this option is fixed so that no row is lost.",
                hint="Remove it; files without a header line get their names from source.header.",
            )
    header = {"header": "true", "enforceSchema": "false"} if has_header else {"header": "false"}
    return {**_DEFAULTS, **cleaned, **_FIXED, **header}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def columns(files: Sequence[InputFile], options: Mapping[str, str], header: Sequence[str] | None) -> list[str]:
    """The column names, which all files must share.

    Raises:
        InputUnavailable: every file is empty, or one cannot be opened.
        ConfigInvalid: two files disagree, or a header repeats a name or is no header.
    """
    filled = [f for f in files if f.size > 0]
    if not filled:
        raise InputUnavailable(
            f"source.path: all {len(files)} files are empty (zero bytes), first {files[0].path!r}.",
            hint="Look at the job that writes them, then run again.",
        )
    if header is not None:
        return _checked(list(header), "source.header")
    names = _checked(_header(filled[0].path, options), filled[0].path)
    for file in filled[1:]:
        other = _header(file.path, options)
        if other != names:
            raise ConfigInvalid(
                f"{file.path}: found the header {other}, expected {names} as in {filled[0].path}.",
                hint="Files of one run must have the same columns in the same order; run them apart.",
            )
    return names


def _header(path: str, options: Mapping[str, str]) -> list[str]:
    try:
        with _open(path) as raw:
            start = raw.read(4)
            if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and "16" not in options["encoding"]:
                raise ConfigInvalid(
                    f"{path}: begins with a UTF-16 byte order mark, expected {options['encoding']}.",
                    hint="Set source.options.encoding: UTF-16.",
                )
            raw.seek(0)
            encoding = "utf-8-sig" if options["encoding"].upper() == "UTF-8" else options["encoding"]
            text = io.TextIOWrapper(cast("IO[bytes]", raw), encoding=encoding, newline="")
            reader = csv.reader(text, delimiter=options.get("sep", ","), quotechar=options.get("quote", '"'))
            return next((row for row in reader if row), [])
    except (OSError, EOFError) as error:
        raise InputUnavailable(f"{path}: cannot be read ({error}).", hint="Check the file, then run again.") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(
            f"{path}: its first line is not {options['encoding']} ({error.reason}).",
            hint="Declare the encoding in source.options.encoding.",
        ) from error


def _open(path: str) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.endswith(".gz") else open(path, "rb")


def _checked(names: list[str], where: str) -> list[str]:
    if any("<html" in n.lower() or "<!doctype" in n.lower() for n in names[:1]):
        raise InputUnavailable(
            f"{where}: begins like an HTML page, expected a CSV header line.",
            hint="The download probably stored an error page; fetch the file again.",
        )
    blank = [i + 1 for i, n in enumerate(names) if not n.strip()]
    repeated = sorted(n for n, times in Counter(n.lower() for n in names).items() if times > 1)
    if not names or blank or repeated:
        found = f"column(s) {blank} have no name" if blank else f"repeated names {repeated}" if repeated else "nothing"
        raise ConfigInvalid(
            f"{where}: found {found} in the header, expected distinct names.",
            hint="Correct the file, or name its columns in source.header.",
        )
    return names
