"""What runs in a Python worker that reads for itself: parts of files in, files of predictions and quarantine out.

Nothing of the rows passes through Spark; it only says which worker takes which unit. Row groups and texts are decoded,
screened, scored, measured and written batch by batch, so that memory does not grow with their number.
"""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from pipelines.errors import MARKER
from pipelines.scoring import row_groups, text
from pipelines.scoring.account import Account, ModelFailedHere
from pipelines.scoring.allocator import keep_freed_memory
from pipelines.scoring.claims import Share, taken
from pipelines.scoring.refusals import uri
from pipelines.scoring.rest import Lines
from pipelines.scoring.reuse import reusable
from pipelines.scoring.spark_task import attempts
from pipelines.scoring.units import (
    Piece,
    Rows,
    Unit,
    UnitFolder,
    is_done,
    note,
    stopped,
)
from pipelines.scoring.work import Batch, ScanTask, Work


class Unreadable(Exception):
    """An input file cannot be read; the message begins with a marker that the driver understands."""

    def __init__(self, path: str, error: Exception) -> None:
        body = {"input": path, "problem": f"{type(error).__name__}: {error}"[:500]}
        super().__init__(f"{MARKER}{json.dumps(body)}{MARKER}")


def scan(task: ScanTask, payload: Callable[[], bytes], shares: Iterable[bytes]) -> Iterator[str]:
    """Score the units of one Spark task, whose shares come pickled. Yields the ids of the units.

    A model that fails is no matter of trying again: it is noted in the folder, and all tasks end.
    """
    pa.set_cpu_count(1)  # Spark runs one worker per core
    keep_freed_memory()
    with reusable():
        for share in shares:
            yield from _scored(task, pickle.loads(share), payload)


def _scored(task: ScanTask, share: Share, payload: Callable[[], bytes]) -> Iterator[str]:
    for unit in taken(task.folder, share):
        if stopped(task.folder):
            return
        try:
            _score_unit(task, unit, payload)
        except ModelFailedHere as error:
            note(task.folder, error.body)
            return
        yield unit.id


def _score_unit(task: ScanTask, unit: Unit, payload: Callable[[], bytes]) -> None:
    if is_done(Path(task.folder), unit.id):
        return
    account = Account(task.task, attempts())
    model = account.load(task.task.model, payload)
    folder = UnitFolder(Path(task.folder), unit.id)
    found = Lines(folder.draft)
    try:
        with Work(task, account, model, folder.draft) as work:
            for piece in unit.pieces:
                for columns in _read(task, piece, found):
                    if stopped(task.folder):
                        return
                    work.score(Batch(columns, uri(piece.path)))
        folder.commit(Rows(work.scored, work.refused, found.left), work.account() | found.account())
    finally:
        folder.abandon()


def _read(task: ScanTask, piece: Piece, found: Lines) -> Iterator[dict[str, pa.Array]]:
    try:
        if task.text is None:
            yield from row_groups.batches(task.schema, piece)
            return
        for block in text.blocks(task.text, piece):
            found.add(piece, block)
            yield from block.batches
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        raise Unreadable(piece.path, error) from error
