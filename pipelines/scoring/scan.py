"""What runs in a Python worker that reads for itself: row groups in, files of predictions and quarantine out.

Nothing of the rows passes through Spark; it only says which worker takes which unit. Row groups are decoded,
screened, scored, measured and written batch by batch, so that memory does not grow with their number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import MARKER
from pipelines.scoring.account import Account, ModelFailedHere, Task, attempts
from pipelines.scoring.loaders import LoadedModel
from pipelines.scoring.refusals import Verdicts, quarantined
from pipelines.scoring.units import FAILED, STOP, Piece, Rows, Unit, UnitFolder, is_done
from pipelines.vectorized.aggregates import Aggregate, Totals
from pipelines.vectorized.program import Program

PREDICTIONS, QUARANTINE = "predictions.parquet", "quarantine.parquet"
_BATCH_BYTES, _FEWEST, _MOST = 8 << 20, 1024, 65_536
_TEXT, _PROBE, _LARGEST = 16, 256, 256 << 20  # bytes, rows, bytes


class Unreadable(Exception):
    """An input file cannot be read; the message begins with a marker that the driver understands."""

    def __init__(self, path: str, error: Exception) -> None:
        body = {"input": path, "problem": f"{type(error).__name__}: {error}"[:500]}
        super().__init__(f"{MARKER}{json.dumps(body)}{MARKER}")


@dataclass(frozen=True)
class Rules:
    """Rules as one program: a verdict for each name, then what is aggregated."""

    names: tuple[str, ...]
    critical: tuple[bool, ...]
    reported: tuple[bool, ...]
    program: Program
    values: Program
    aggregates: tuple[Aggregate, ...] = ()


@dataclass(frozen=True)
class ScanTask:
    """All that a worker is told. ``schema`` are the source columns as Spark names and types them; ``feeds`` makes
    the model's inputs of them, ``slices`` what the profile is cut by; ``kept`` goes from the source to the
    predictions as it is."""

    task: Task
    before: Rules
    feeds: Program
    slices: Program
    after: Rules
    kept: tuple[str, ...]
    schema: pa.Schema
    predictions: pa.Schema
    quarantine: pa.Schema
    model_id: str
    timestamp: datetime
    folder: str


def scan(
    task: ScanTask, units: Sequence[Sequence[Unit]], payload: Callable[[], bytes], batches: Iterator[Any]
) -> Iterator[pa.RecordBatch]:
    """Score the units of one Spark task; ``batches`` name the task by its number. Yields the ids of the units.

    A model that fails is no matter of trying again: it is noted in the folder, and all tasks end.
    """
    pa.set_cpu_count(1)  # Spark runs one worker per core
    done: list[str] = []
    for number in (n for batch in batches for n in batch.column(0).to_pylist()):
        for unit in units[number]:
            if _stopped(task.folder):
                break
            try:
                _score_unit(task, unit, payload)
            except ModelFailedHere as error:
                _note(task.folder, error.body)
                break
            done.append(unit.id)
    yield pa.RecordBatch.from_pydict({"unit": pa.array(done, pa.string())})


def _stopped(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, STOP))


def _note(folder: str, body: dict[str, Any]) -> None:
    """The first failure is the one to tell."""
    path = Path(folder) / FAILED
    draft = path.with_name(f".{FAILED}-{os.getpid()}")
    draft.write_text(json.dumps(body))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    (Path(folder) / STOP).touch()


def _score_unit(task: ScanTask, unit: Unit, payload: Callable[[], bytes]) -> None:
    if is_done(Path(task.folder), unit.id):
        return
    account = Account(task.task, attempts())
    model = account.load(task.task.model, payload)
    folder = UnitFolder(Path(task.folder), unit.id)
    try:
        with _Unit(task, account, model, folder.draft) as work:
            for piece in unit.pieces:
                for batch in _batches(task, piece):
                    if _stopped(task.folder):
                        return
                    work.score(batch, piece.path)
        folder.commit(Rows(work.scored, work.refused), work.account())
    finally:
        folder.abandon()


def _batches(task: ScanTask, piece: Piece) -> Iterator[dict[str, pa.Array]]:
    """The source's columns, in the types that Spark gives them."""
    names, groups = task.schema.names, list(piece.groups)
    try:
        with pq.ParquetFile(piece.path, page_checksum_verification=True) as file:
            size = batch_size(task.schema)
            if any(map(_varies, task.schema.types)):  # how long texts are only the data know
                probe = file.iter_batches(_PROBE, row_groups=groups[:1], columns=names, use_threads=False)
                size = min(size, *(rows_for(_BATCH_BYTES, b) for b in islice(probe, 1)))
            size = evenly(piece.rows, size)
            for batch in file.iter_batches(size, row_groups=groups, columns=names, use_threads=False):
                for part in _slices(batch):
                    found = dict(zip(part.schema.names, part.columns, strict=True))
                    yield {f.name: _typed(found[f.name], f.type) for f in task.schema}
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(piece.path, error) from error


def batch_size(schema: pa.Schema) -> int:
    """Rows of about ``_BATCH_BYTES``, texts counted as a few bytes."""
    width = sum(_TEXT if _varies(kind) else kind.bit_width / 8 for kind in schema.types)
    return int(np.clip(_BATCH_BYTES / width, _FEWEST, _MOST))


def evenly(rows: int, most: int) -> int:
    """Rows of a batch, so that the last one is not a handful: a batch has a price of its own."""
    batches = max(1, -(-rows // most))
    return max(1, -(-rows // batches))


def rows_for(room: int, batch: pa.RecordBatch) -> int:
    """How many rows like those of ``batch`` are ``room`` bytes once dictionaries are resolved, at least one."""
    width = sum(_decoded(array) for array in batch.columns) / max(batch.num_rows, 1)
    return int(np.clip(room / max(width, 1), 1, _MOST))


def _varies(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_binary(kind)


def _decoded(array: pa.Array) -> int:
    """At most how many bytes the values take without a dictionary."""
    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    longest = pc.max(pc.binary_length(array.dictionary)).as_py() if len(array.dictionary) else 0
    return len(array) * (int(longest or 0) + 4)


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in parts that stay far below the 2 GB that an array of texts can address."""
    step = rows_for(_LARGEST, batch)
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _typed(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)


class _Unit:
    """One unit in the making. Use as a context, which closes its files."""

    def __init__(self, task: ScanTask, account: Account, model: LoadedModel, folder: Path) -> None:
        self.task, self._account, self._model, self._folder = task, account, model, folder
        self._before = Verdicts(task.before.names)
        self._after = Verdicts(task.after.names)
        self._totals = [Totals.empty(rules.aggregates) for rules in (task.before, task.after)]
        self._writers: dict[str, pq.ParquetWriter] = {}
        self.scored = self.refused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def score(self, columns: dict[str, pa.Array], path: str) -> None:
        """One batch: screen, predict, screen, write."""
        task, rows = self.task, len(next(iter(columns.values())))
        verdicts = self._before.count(task.before.program.verdicts(columns, rows), rows)
        self._totals[0].add(task.before.values.run(columns, rows), rows)
        keep = ~_any(verdicts, task.before.critical, rows)
        inputs = task.feeds.arrays(columns, rows)
        slices = task.slices.arrays(columns, rows)
        if not keep.all():
            inputs, slices = ([a.filter(pa.array(keep)) for a in part] for part in (inputs, slices))
        outputs, errors = self._account.predict(self._model, inputs, rows, slices)
        predicted = keep.copy()
        predicted[keep] = errors.is_null().to_numpy(zero_copy_only=False)
        table = self._predictions(columns, outputs, errors, predicted)
        count = int(predicted.sum())
        late = self._after.count(task.after.program.verdicts(table, count), count)
        self._totals[1].add(task.after.values.run(table, count), count)
        scored = ~_any(late, task.after.critical, count)
        self._write_scored(table, scored)
        if int(scored.sum()) < rows:
            gone = np.ones(rows, bool)
            gone[predicted] = ~scored
            parts = (verdicts, keep, errors, predicted, late)
            refused = quarantined(task, columns, gone, parts, path)
            self._write(QUARANTINE, refused)
            self.refused += refused.num_rows

    def _predictions(
        self, columns: dict[str, pa.Array], outputs: list[pa.Array], errors: pa.Array, predicted: np.ndarray
    ) -> dict[str, pa.Array]:
        names = [c.name for c in self.task.task.outputs]
        if predicted.all():
            return {n: columns[n] for n in self.task.kept} | dict(zip(names, outputs, strict=True))
        wanted, answered = pa.array(predicted), errors.is_null()
        return {n: columns[n].filter(wanted) for n in self.task.kept} | {
            n: a.filter(answered) for n, a in zip(names, outputs, strict=True)
        }

    def _write_scored(self, table: dict[str, pa.Array], scored: np.ndarray) -> None:
        rows = int(scored.sum())
        if not rows:
            return
        arrays = list(table.values())
        if rows < len(scored):
            arrays = [a.filter(pa.array(scored)) for a in arrays]
        arrays += [
            pa.repeat(pa.scalar(v, t), rows)
            for v, t in zip(
                (self.task.model_id, self.task.timestamp), self.task.predictions.types[-2:], strict=True
            )
        ]
        fitted = [_typed(a, t) for a, t in zip(arrays, self.task.predictions.types, strict=True)]
        self._write(PREDICTIONS, pa.RecordBatch.from_arrays(fitted, schema=self.task.predictions))
        self.scored += rows

    def _write(self, name: str, batch: pa.RecordBatch) -> None:
        if name not in self._writers:
            self._writers[name] = pq.ParquetWriter(
                self._folder / name, batch.schema, compression="snappy", store_schema=False
            )
        self._writers[name].write_batch(batch)

    def account(self) -> dict[str, Any]:
        """What was counted, as JSON."""
        state = self._account.close((tuple(self._before.counts),))
        return {
            "state": state.to_bytes().decode(),
            "after": self._after.counts,
            "totals": [t.states for t in self._totals],
        }


def _any(verdicts: Sequence[Any], wanted: Sequence[bool], rows: int) -> np.ndarray:
    """Whether a row breaks a wanted rule."""
    broken = np.zeros(rows, bool)
    for verdict, counts in zip(verdicts, wanted, strict=True):
        if counts:
            broken |= verdict
    return broken
