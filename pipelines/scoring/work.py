"""One unit in the making: batches are screened, scored, screened again and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.csv_forms import LineForm
from pipelines.scoring import writing
from pipelines.scoring.account import Account, Task
from pipelines.scoring.loaders import LoadedModel
from pipelines.scoring.refusals import Verdicts, quarantined
from pipelines.scoring.row_groups import typed
from pipelines.vectorized.aggregates import Aggregate, Totals
from pipelines.vectorized.program import Program

PREDICTIONS, QUARANTINE = "predictions.parquet", "quarantine.parquet"


@dataclass(frozen=True)
class Rules:
    """Rules as one program: a verdict for each name, then what is aggregated. ``reading`` are those that refuse what
    cannot be read."""

    names: tuple[str, ...]
    critical: tuple[bool, ...]
    reported: tuple[bool, ...]
    reading: tuple[bool, ...]
    program: Program
    values: Program
    aggregates: tuple[Aggregate, ...] = ()


@dataclass(frozen=True)
class ScanTask:
    """All that a worker is told. ``schema`` are the source columns as Spark names and types them; ``feeds`` makes
    the model's inputs of them, ``slices`` what the profile is cut by; ``kept`` goes from the source to the
    predictions as it is; ``text`` is the form of the lines where the source is CSV."""

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
    text: LineForm | None = None


@dataclass(frozen=True)
class Batch:
    """Rows as they were read. ``source`` is the URI of their file, or has one for each row. Of rows that Spark has
    read, ``raw`` has the text of malformed records, and ``verdicts`` say which of the rules on inputs they break."""

    columns: dict[str, pa.Array]
    source: str | pa.Array
    raw: pa.Array | None = None
    verdicts: Sequence[np.ndarray] | None = None

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values())))


class Work:
    """One unit in the making. Use as a context, which closes its files."""

    def __init__(self, task: ScanTask, account: Account, model: LoadedModel, folder: Path) -> None:
        self.task, self._account, self._model, self._folder = task, account, model, folder
        self._before = Verdicts(task.before.names)
        self._after = Verdicts(task.after.names)
        self._totals = [Totals.empty(rules.aggregates) for rules in (task.before, task.after)]
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._constants: tuple[pa.Array, pa.Array] = (pa.nulls(0), pa.nulls(0))
        self.scored = self.refused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def score(self, batch: Batch) -> None:
        """One batch: screen, predict, screen, write."""
        task, columns, rows = self.task, batch.columns, batch.rows
        verdicts = self._before.count(self._verdicts(batch), rows)
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
            refused = quarantined(task, batch, gone, (verdicts, keep, errors, predicted, late))
            self._write(QUARANTINE, refused)
            self.refused += refused.num_rows

    def _verdicts(self, batch: Batch) -> list[Any]:
        """What the rules on inputs say; counts what is aggregated over the rows that can be read."""
        rules, columns, rows = self.task.before, batch.columns, batch.rows
        if batch.verdicts is None:
            self._totals[0].add(rules.values.run(columns, rows), rows)
            return rules.program.verdicts(columns, rows)
        readable = pa.array(~_any(batch.verdicts, rules.reading, rows))
        values = {n: a.filter(readable) for n, a in columns.items()}
        self._totals[0].add(rules.values.run(values, readable.true_count), readable.true_count)
        return list(batch.verdicts)

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
        fitted = [typed(a, t) for a, t in zip(arrays, self.task.predictions.types, strict=False)]
        fitted += [a.slice(0, rows) for a in self._of_the_run(rows)]
        self._write(PREDICTIONS, pa.RecordBatch.from_arrays(fitted, self.task.predictions.names))
        self.scored += rows

    def _of_the_run(self, rows: int) -> tuple[pa.Array, pa.Array]:
        """What is the same in all rows: the model, as a dictionary of one, and the logical time."""
        if rows > len(self._constants[0]):
            model, timestamp = self.task.predictions.types[-2:]
            names = pa.array([self.task.model_id], model)
            self._constants = (
                pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), names),
                pa.repeat(pa.scalar(self.task.timestamp, timestamp), rows),
            )
        return self._constants

    def _write(self, name: str, batch: pa.RecordBatch) -> None:
        if name not in self._writers:
            self._writers[name] = writing.writer(self._folder / name, batch)
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
