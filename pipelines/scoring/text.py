"""A worker reads CSV: lines that everybody reads alike (:mod:`pipelines.csv_forms`) become Arrow columns, the others
are handed over as they are, for Spark to judge."""

from __future__ import annotations

import bz2
import codecs
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipelines.csv_forms import BLANK, FALSE, TRUE, LineForm
from pipelines.scoring.units import Piece

_BLOCK, _MOST = 8 << 20, 65_536  # bytes read at once, rows of a batch
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
PACKED = tuple(_OPENERS)


@dataclass(frozen=True)
class Block:
    """``lines`` as the line breaks count them, without blank ones and the header; the columns of the plain ones among
    them, in batches; ``rest``, the others as they are; ``start`` and ``stop``, where in the file all this stands."""

    lines: int
    batches: list[dict[str, pa.Array]]
    rest: bytes
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many lines are plain."""
        return sum(len(next(iter(b.values()))) for b in self.batches)


def blocks(form: LineForm, piece: Piece) -> Iterator[Block]:
    """The lines that begin in the piece."""
    header = form.header and piece.start == 0
    first = piece.start == 0
    for start, text in _packed(piece.path) if piece.path.endswith(PACKED) else _cut(piece):
        body = _one_break(text.removeprefix(codecs.BOM_UTF8) if first else text)
        first = False
        if header:
            body, header = _past_header(body)
        yield _block(form, body, start, start + len(text))


def _cut(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """The text from the first line that begins in the piece to the end of the last one, and where it stands."""
    with open(piece.path, "rb") as file:
        if piece.start:
            file.seek(piece.start - 1)
            file.readline()
        while (at := file.tell()) < piece.stop and (text := file.read(min(_BLOCK, piece.stop - at))):
            yield at, text if text.endswith(b"\n") else text + file.readline()
        yield file.tell(), b""  # where the next piece has to begin


def _packed(path: str) -> Iterator[tuple[int, bytes]]:
    opener = next(o for end, o in _OPENERS.items() if path.endswith(end))
    at = 0
    with opener(path, "rb") as file:
        while text := file.read(_BLOCK):
            text += b"" if text.endswith(b"\n") else file.readline()
            yield at, text
            at += len(text)


def _one_break(text: bytes) -> bytes:
    """The text with a line feed behind every line; a lone carriage return ends one, too."""
    if b"\r" in text and text.count(b"\r") > text.count(b"\r\n"):
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text if text.endswith(b"\n") or not text else text + b"\n"


def _past_header(text: bytes) -> tuple[bytes, bool]:
    """The text behind its first line that is not blank, and whether such a line is still to come."""
    at = 0
    while at < len(text):
        end = text.index(b"\n", at) + 1
        if text[at:end].strip(bytes(range(33))):
            return text[end:], False
        at = end
    return b"", True


def _block(form: LineForm, text: bytes, start: int, stop: int) -> Block:
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    lines = pa.Array.from_buffers(
        pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    )
    filled, plain = ~_matches(lines, BLANK), _matches(lines, form.plain)
    plain &= filled
    table = _table(form, text if plain.all() else _joined(lines, plain), int(plain.sum()))
    if table is None:
        plain[:] = False
        batches = []
    else:
        finite = _finite(table)
        if not finite.all():
            plain[np.flatnonzero(plain)[~finite]] = False
            table = table.filter(pa.array(finite))
        batches = [_columns(form, b) for b in table.to_batches(_MOST) if b.num_rows]
    return Block(int(filled.sum()), batches, _joined(lines, filled & ~plain), start, stop)


def _matches(lines: pa.Array, pattern: str) -> np.ndarray:
    found: np.ndarray = pc.match_substring_regex(lines, pattern).to_numpy(zero_copy_only=False)
    return found.astype(bool)


def _joined(lines: pa.Array, wanted: np.ndarray) -> bytes:
    return b"".join(lines.filter(pa.array(wanted)).to_pylist())


def _table(form: LineForm, text: bytes, rows: int) -> pa.Table | None:
    """Plain lines as a table of one chunk. None where Arrow refuses one after all: then Spark shall judge them."""
    if not rows:
        return form.schema.empty_table()
    zoned = {
        n: pa.string() for n, kind in zip(form.schema.names, form.kinds, strict=True) if kind == "timestamp"
    }
    if text.startswith(codecs.BOM_UTF8):  # a character of the first line; Arrow would take it for a mark
        text = codecs.BOM_UTF8 + text
    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            csv.ReadOptions(use_threads=False, column_names=form.schema.names, block_size=len(text) + 1),
            csv.ParseOptions(delimiter=form.separator, quote_char='"' if b'"' in text else False),
            csv.ConvertOptions(
                column_types={f.name: zoned.get(f.name, f.type) for f in form.schema},
                null_values=[""],
                strings_can_be_null=True,
                true_values=list(TRUE),
                false_values=list(FALSE),
            ),
        )
    except (pa.ArrowException, OverflowError):
        return None
    return table if table.num_rows == rows else None


def _finite(table: pa.Table) -> np.ndarray:
    """Rows without infinite numbers, which Spark shall judge."""
    finite = np.ones(table.num_rows, bool)
    for column in table.columns:
        if pa.types.is_floating(column.type):
            finite &= ~pc.is_inf(column).fill_null(False).to_numpy()
    return finite


def _columns(form: LineForm, batch: pa.RecordBatch) -> dict[str, pa.Array]:
    found = dict(zip(batch.schema.names, batch.columns, strict=True))
    return {f.name: _typed(found[f.name], f.type) for f in form.schema}


def _typed(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    return pc.utf8_rtrim(array, characters="Z").cast(pa.timestamp("us")).cast(kind)
