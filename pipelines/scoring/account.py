"""What one task does with the rows that reach the model: predict, isolate, count, profile.

A batch on which the model raises is bisected until the rows at fault stand alone; they are handed back with
the reason. A batch that takes too long ends the task. A task that is tried again, as after a worker that the
system killed, calls the model with smaller batches.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.errors import MARKER
from pipelines.masking import WITHOUT_VALUES
from pipelines.profiles import ColumnSpec, TableProfile
from pipelines.records import ModelColumn
from pipelines.redaction import named_like_secrets, redact
from pipelines.scoring.frames import to_frame
from pipelines.scoring.loaders import LoadedModel, ModelSpec, load
from pipelines.scoring.outputs import WrongOutput, arrow_type, to_arrays
from pipelines.scoring.spark_task import partition, worker_name
from pipelines.scoring.states import WorkerState
from pipelines.scoring.time_limit import TooSlow, limited

UNFIT = "prediction is missing, NaN or infinite"
ISOLATED_PER_BATCH = 64  # more than these failing alone in one batch, and the model as a whole has failed;
ISOLATED_ANYWAY = 8  # but a small batch, the last one of a task say, may hold nothing but these
SMALLER = 3  # a retried task's batches have 2**-3 of the rows


class ModelFailedHere(Exception):
    """The model cannot score this batch; the message begins with a marker the driver understands."""

    def __init__(self, problem: str, batch: int) -> None:
        self.body = {"problem": problem, "batch": batch, "partition": partition(), "stage": "predict"}
        super().__init__(f"{MARKER}{json.dumps(self.body)}{MARKER}")


@dataclass(frozen=True)
class Task:
    """All that a worker is told: how to load the model, what goes in, what comes out, what to count.

    ``critical`` has the critical bits of each mask column. ``specs`` are the columns to profile.
    ``batch_timeout``: seconds that one call of the model may take; 0 is no limit. ``slices`` are the expressions
    by which the profile is cut; their values come with each batch, as text. ``discreet``: what a model raises
    may quote sensitive values, and whatever fails a task is logged by Spark.
    """

    model: ModelSpec
    inputs: tuple[ModelColumn, ...]
    outputs: tuple[ModelColumn, ...]
    critical: tuple[int, ...]
    specs: tuple[ColumnSpec, ...] = ()
    batch_timeout: float = 0.0
    slices: tuple[str, ...] = ()
    discreet: bool = False


class Account:
    """Counts what one task does. Mutable, and never leaves the worker: :meth:`close` gives its sum."""

    def __init__(self, task: Task, smaller: int = 0) -> None:
        self.task = task
        self.smaller = smaller
        self.profile = TableProfile.empty(task.specs) if task.specs else None
        self.state = WorkerState()
        self.cpu = time.process_time()

    def load(self, spec: ModelSpec, payload: Callable[[], bytes]) -> LoadedModel:
        """The model, from the worker's cache or from its bytes.

        Raises:
            ModelFailedHere: it cannot be loaded.
        """
        start = time.perf_counter()
        try:
            model, fresh = load(spec, payload, self.task.inputs, self.task.specs)
        except Exception as error:
            raise ModelFailedHere(
                f"the model cannot be loaded: {type(error).__name__}: {error}", 0
            ) from error
        me = worker_name()
        loads = ((me, time.perf_counter() - start),) if fresh else ()
        classes = () if model.classes is None else tuple(str(c) for c in model.classes)
        self.state = replace(
            self.state,
            loads=loads,
            workers=(me,),
            classes=classes,
            forms=(json.dumps(model.form),),
            shared_mb=model.shared / 2**20,
        )
        return model

    def predict(
        self, model: LoadedModel, columns: Sequence[pa.Array], rows: int, slices: Sequence[pa.Array] = ()
    ) -> tuple[list[pa.Array], pa.Array]:
        """One array per output and the error (text or NULL) of each row of ``columns``, counted and profiled.

        Args:
            rows: how many rows the batch had before some were refused.
            slices: the value of each slicing expression for each row of ``columns``.

        Raises:
            ModelFailedHere: the model as a whole fails, answers wrongly or not in time.
        """
        arrays, errors = self._predicted(model, list(columns))
        self._count(rows, errors)
        if self.profile is not None and len(errors):
            by = dict(zip(self.task.slices, slices, strict=True))
            self._observe(self.profile, columns, arrays, model.classes, by)
        return arrays, errors

    def close(self, counts: tuple[tuple[int, ...], ...]) -> WorkerState:
        """The account of the task; ``counts`` are its rows by rule."""
        return replace(
            self.state,
            counts=counts,
            cpu_seconds=time.process_time() - self.cpu,
            peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            profile=self.profile,
        )

    def _predicted(self, model: LoadedModel, columns: list[pa.Array]) -> tuple[list[pa.Array], pa.Array]:
        rows = len(columns[0])
        empty = [pa.array([], arrow_type(c.type)) for c in self.task.outputs]
        if not rows:
            return empty, pa.nulls(0, pa.string())
        start = time.perf_counter()
        pieces = list(self._pieces(model, columns, rows))
        arrays = [pa.concat_arrays([p[0][i] for p in pieces]) for i in range(len(empty))]
        errors = pa.concat_arrays([p[1] for p in pieces])
        spent = time.perf_counter() - start
        self.state = replace(self.state, predict_seconds=self.state.predict_seconds + spent)
        return arrays, errors

    def _pieces(self, model: LoadedModel, columns: list[pa.Array], rows: int) -> Iterator[Any]:
        """Results for all rows, in order; halves what raises, down to the row at fault."""
        most = max(1, rows >> (SMALLER * self.smaller))
        pending = [(start, min(start + most, rows)) for start in range(0, rows, most)][::-1]
        isolated = 0
        while pending:
            start, stop = pending.pop()
            part = columns if stop - start == rows else [c.slice(start, stop - start) for c in columns]
            try:
                yield self._call(model, part)
            except WrongOutput as error:
                raise self._failure(f"the model {error}") from self._cause(error)
            except TooSlow:
                limit = self.task.batch_timeout
                raise self._failure(
                    f"the model has not answered within {limit:g} s for {stop - start} rows (scoring.batch_timeout)"
                ) from None
            except Exception as error:  # whatever a model raises belongs to its row, not to the run
                self.state = replace(self.state, failed_calls=self.state.failed_calls + 1)
                if stop - start == 1:
                    isolated += 1
                    self._refuse_hopeless(isolated, rows, error)
                    yield (
                        [pa.nulls(1, arrow_type(c.type)) for c in self.task.outputs],
                        pa.array([_reason(error)]),
                    )
                else:
                    middle = (start + stop) // 2
                    pending += [(middle, stop), (start, middle)]

    def _refuse_hopeless(self, isolated: int, rows: int, error: Exception) -> None:
        """Half a big batch, or all of what the task has seen so far: that is no longer about single rows."""
        all_so_far = isolated == rows > 1 and not self.state.predicted
        most = ISOLATED_PER_BATCH * max(1, rows // 10_000)  # Spark's batches have 10,000 rows, others more
        if all_so_far or isolated > min(most, max(ISOLATED_ANYWAY, rows // 2)):
            raise self._failure(
                f"the model raises on {isolated} or more rows of a batch of {rows}: {_reason(error)}"
            ) from self._cause(error)

    def _failure(self, problem: str) -> ModelFailedHere:
        told = WITHOUT_VALUES.text(problem) if self.task.discreet else problem
        return ModelFailedHere(told, self.state.batches)

    def _cause(self, error: Exception) -> Exception | None:
        """What the log of a failed task may show."""
        return None if self.task.discreet or _without_secrets(str(error)) != str(error) else error

    def _call(self, model: LoadedModel, columns: Sequence[pa.Array]) -> tuple[list[pa.Array], pa.Array]:
        task, rows = self.task, len(columns[0])
        self.state = replace(self.state, calls=self.state.calls + 1)
        with limited(task.batch_timeout):
            frame, start = to_frame(task.inputs, columns), time.perf_counter_ns()
            result = model.predict(frame)
        micros = (time.perf_counter_ns() - start) // 1000
        s = self.state
        self.state = replace(
            s, call_rows=s.call_rows.observe(rows), call_micros=s.call_micros.observe(micros)
        )
        arrays, bad = to_arrays(result, rows, task.model.method, task.outputs, model.classes)
        if not bad.any():
            return arrays, pa.nulls(rows, pa.string())
        return arrays, pa.array([UNFIT if b else None for b in bad], pa.string())

    def _count(self, rows: int, errors: pa.Array) -> None:
        failed = len(errors) - errors.null_count
        s = self.state
        self.state = replace(
            s,
            rows=s.rows + rows,
            predicted=s.predicted + len(errors) - failed,
            failed=s.failed + failed,
            batches=s.batches + 1,
        )

    def _observe(
        self,
        profile: TableProfile,
        columns: Sequence[pa.Array],
        arrays: Sequence[pa.Array],
        classes: Any,
        by: Mapping[str, pa.Array],
    ) -> None:
        outputs = {c.name: a for c, a in zip(self.task.outputs, arrays, strict=True)}
        named = {c.name: a for c, a in zip(self.task.inputs, columns, strict=True)} | outputs
        profile.update({s.name: named[s.name] for s in self.task.specs if s.name in named}, by)
        probability = outputs.get("probability")
        if probability is not None and classes is not None:  # of the rows that have one alone
            answered = {key: values.filter(probability.is_valid()) for key, values in by.items()}
            profile.update(_by_class("probability", probability, classes), answered)


def _by_class(name: str, array: pa.ListArray, classes: Sequence[Any]) -> dict[str, np.ndarray]:
    """``probability_<class>``: one array per class from the lists of the rows that have one."""
    values = array.drop_null().flatten().to_numpy(zero_copy_only=False)
    matrix = values.reshape(-1, len(classes))
    return {f"{name}_{label}": np.ascontiguousarray(matrix[:, i]) for i, label in enumerate(classes)}


def _reason(error: Exception) -> str:
    said = _without_secrets(str(error)).splitlines()
    return f"{type(error).__name__}: {said[0][:500] if said else ''}"


def _without_secrets(text: str) -> str:
    """A model has the worker's environment at hand, and its libraries quote what they connect to."""
    return redact(text, named_like_secrets(os.environ))
