"""Lines of CSV that Spark has to judge: a worker keeps them beside its unit; once Spark has read them, another scores
them as the rows they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.scoring.account import Account, ModelFailedHere
from pipelines.scoring.row_groups import typed
from pipelines.scoring.spark_task import attempts, partition
from pipelines.scoring.text import Block
from pipelines.scoring.units import Piece, Rows, UnitFolder, is_done, note
from pipelines.scoring.work import Batch, ScanTask, Work

_BITS = 60  # rules per mask column, as in pipelines.rules, which workers do not import


class Lines:
    """Counts the lines of a unit's texts, and keeps those that Spark has to judge: one file for each text."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spans: dict[str, tuple[int, int]] = {}
        self._rest: dict[str, str] = {}
        self.lines = self.left = 0

    def add(self, piece: Piece, block: Block) -> None:
        """Count a block, and keep its rest."""
        self.lines += block.lines
        self.left += block.lines - block.rows
        begin, _ = self._spans.get(piece.path, (block.start, 0))
        self._spans[piece.path] = begin, block.stop
        if not block.rest:
            return
        new = piece.path not in self._rest
        name = self._rest.setdefault(piece.path, f"rest-{len(self._rest)}.csv")
        with (self._folder / name).open("ab") as file:
            # what looks like a byte order mark is none unless it stands at the beginning
            file.write(b"\n" + block.rest if new else block.rest)

    def account(self) -> dict[str, Any]:
        """Lines; where in its file each text began and ended; the file's name of each text that has a rest."""
        return {"lines": self.lines, "spans": self._spans, "rest": self._rest}


def score_rest(
    task: ScanTask,
    name: str,
    sources: Mapping[str, str],
    payload: Callable[[], bytes],
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Score one Spark partition of rows that Spark has read, as a unit called ``name`` and the partition's number.

    Args:
        sources: from the URI of a kept file to that of the text whose lines it holds.
        batches: the source's columns, the raw text of malformed records, the kept file, and the masks of the rules on
            inputs.
    """
    unit, root = f"{name}-{partition()}", Path(task.folder)
    filled = (b for b in batches if b.num_rows)
    first = next(filled, None)
    if first is None:
        return
    if not is_done(root, unit):
        try:
            _score(task, unit, root, sources, payload, first, filled)
        except ModelFailedHere as error:
            note(task.folder, error.body)
            return
    yield pa.RecordBatch.from_pydict({"unit": pa.array([unit])})


def _score(
    task: ScanTask,
    unit: str,
    root: Path,
    sources: Mapping[str, str],
    payload: Callable[[], bytes],
    first: pa.RecordBatch,
    others: Iterator[pa.RecordBatch],
) -> None:
    account = Account(task.task, attempts())
    model = account.load(task.task.model, payload)
    folder = UnitFolder(root, unit)
    try:
        with Work(task, account, model, folder.draft) as work:
            work.score(_batch(task, sources, first))
            for batch in others:
                work.score(_batch(task, sources, batch))
        folder.commit(Rows(work.scored, work.refused), work.account())
    finally:
        folder.abandon()


def _batch(task: ScanTask, sources: Mapping[str, str], found: pa.RecordBatch) -> Batch:
    width = len(task.schema)
    columns = {f.name: typed(found.column(i), f.type) for i, f in enumerate(task.schema)}
    files = found.column(width + 1).dictionary_encode()
    names = pa.array([sources[f] for f in files.dictionary.to_pylist()], pa.string())
    masks = [m.to_numpy(zero_copy_only=False) for m in found.columns[width + 2 :]]
    verdicts = [
        (masks[i // _BITS] >> (i % _BITS) & 1).astype(np.bool_) for i in range(len(task.before.names))
    ]
    return Batch(columns, names.take(files.indices), found.column(width), verdicts)
