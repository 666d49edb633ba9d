"""What runs in a Python worker: batches of Arrow columns in, predictions out, counted and profiled.

Rows that break a critical rule come along but never reach the model. A batch on which the model raises is
bisected until the rows at fault stand alone; they are handed back with the reason. The last batch of a task
carries the worker's account of it: rows, rule counts, profile, time, memory.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.profiles import ColumnSpec, TableProfile
from pipelines.records import ModelColumn
from pipelines.scoring.frames import to_frame
from pipelines.scoring.loaders import LoadedModel, ModelSpec, load
from pipelines.scoring.outputs import WrongOutput, arrow_type, to_arrays
from pipelines.scoring.states import WorkerState

ERROR, STATE = "__error", "__state"  # a model may well have an output called error
UNFIT = "prediction is missing, NaN or infinite"
MARKER = "scoreline-model-failed:"  # what the driver looks for in a failed task's message
BITS = 60  # rules per mask column, as in pipelines.rules, which workers do not import
ISOLATED_PER_BATCH = 64  # more than these failing alone in one batch, and the model as a whole has failed;
ISOLATED_ANYWAY = 8  # but a small batch, the last one of a task say, may hold nothing but these


class ModelFailedHere(Exception):
    """The model cannot score this batch; the message begins with a marker the driver understands."""

    def __init__(self, problem: str, batch: int) -> None:
        task = _task()
        text = json.dumps({"problem": problem, "batch": batch, "partition": task, "stage": "predict"})
        super().__init__(f"{MARKER}{text}{MARKER}")


@dataclass(frozen=True)
class Task:
    """All that a worker is told: how to load the model, what goes in, what comes out, what to count.

    ``critical`` has the critical bits of each mask column. ``specs`` are the columns to profile.
    """

    model: ModelSpec
    inputs: tuple[ModelColumn, ...]
    outputs: tuple[ModelColumn, ...]
    critical: tuple[int, ...]
    specs: tuple[ColumnSpec, ...] = ()


def run(
    task: Task, payload: Callable[[], bytes], batches: Iterator[tuple[pa.Array, ...]]
) -> Iterator[pa.Array]:
    """Score the batches of one Spark task.

    Each batch is the model's input columns, then the mask columns; each result a struct array of as many rows:
    the outputs, ``__error`` (text or NULL) and ``__state`` (NULL but in the last row of the last batch).
    """
    account = _Account(task)
    loaded: LoadedModel | None = None
    waiting: list[pa.Array] | None = None
    for batch in batches:
        if loaded is None:
            loaded = account.load(task.model, payload)
        if waiting is not None:
            yield _struct(task, waiting, None)
        waiting = account.score(loaded, batch)
    if waiting is not None:
        yield _struct(task, waiting, account.close())


def _struct(task: Task, arrays: list[pa.Array], state: bytes | None) -> pa.StructArray:
    rows = len(arrays[-1])
    states = pa.array([None] * (rows - 1) + [state], pa.binary()) if state else pa.nulls(rows, pa.binary())
    names = [*(c.name for c in task.outputs), ERROR, STATE]
    return pa.StructArray.from_arrays([*arrays, states], names)


class _Account:
    """Counts what one task does. Mutable, and never leaves the worker: :meth:`close` gives its sum."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.profile = TableProfile.empty(task.specs) if task.specs else None
        self.bits = [np.zeros(BITS, np.int64) for _ in task.critical]
        self.state = WorkerState()
        self.cpu = time.process_time()

    def load(self, spec: ModelSpec, payload: Callable[[], bytes]) -> LoadedModel:
        start = time.perf_counter()
        try:
            model, fresh = load(spec, payload)
        except Exception as error:
            raise ModelFailedHere(
                f"the model cannot be loaded: {type(error).__name__}: {error}", 0
            ) from error
        me = _worker_name()
        loads = ((me, time.perf_counter() - start),) if fresh else ()
        classes = () if model.classes is None else tuple(str(c) for c in model.classes)
        self.state = replace(self.state, loads=loads, workers=(me,), classes=classes)
        return model

    def score(self, model: LoadedModel, batch: Sequence[pa.Array]) -> list[pa.Array]:
        width = len(self.task.inputs)
        keep = self._screen(batch[width:], len(batch[0]))
        whole = bool(keep.all())
        columns = list(batch[:width]) if whole else [a.filter(pa.array(keep)) for a in batch[:width]]
        arrays, errors = self._predict(model, columns)
        self._count(len(keep), errors)
        if self.profile is not None and len(errors):
            self._observe(self.profile, columns, arrays, model.classes)
        return [*arrays, errors] if whole else _spread([*arrays, errors], keep)

    def _screen(self, masks: Sequence[pa.Array], rows: int) -> np.ndarray:
        """Which rows reach the model; counts every rule on the way."""
        keep = np.ones(rows, dtype=bool)
        for bits, mask, critical in zip(self.bits, masks, self.task.critical, strict=True):
            values = mask.to_numpy(zero_copy_only=False)
            marked = values[values != 0]
            if len(marked):
                patterns, times = np.unique(marked, return_counts=True)
                bits += (((patterns[:, None] >> np.arange(BITS)) & 1) * times[:, None]).sum(axis=0)
                keep &= (values & critical) == 0
        return keep

    def _predict(self, model: LoadedModel, columns: list[pa.Array]) -> tuple[list[pa.Array], pa.Array]:
        rows = len(columns[0])
        empty = [pa.array([], arrow_type(c.type)) for c in self.task.outputs]
        if not rows:
            return empty, pa.nulls(0, pa.string())
        start = time.perf_counter()
        pieces = list(self._pieces(model, columns, 0, rows))
        arrays = [pa.concat_arrays([p[0][i] for p in pieces]) for i in range(len(empty))]
        errors = pa.concat_arrays([p[1] for p in pieces])
        spent = time.perf_counter() - start
        self.state = replace(self.state, predict_seconds=self.state.predict_seconds + spent)
        return arrays, errors

    def _pieces(self, model: LoadedModel, columns: list[pa.Array], start: int, stop: int) -> Iterator[Any]:
        """Results for rows start to stop, in order; halves what raises, down to the row at fault."""
        pending, isolated = [(start, stop)], 0
        while pending:
            start, stop = pending.pop()
            part = (
                columns
                if stop - start == len(columns[0])
                else [c.slice(start, stop - start) for c in columns]
            )
            try:
                yield self._call(model, part)
            except WrongOutput as error:
                raise ModelFailedHere(f"the model {error}", self.state.batches) from error
            except Exception as error:  # whatever a model raises belongs to its row, not to the run
                if stop - start == 1:
                    isolated += 1
                    self._refuse_hopeless(isolated, len(columns[0]), error)
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
        if all_so_far or isolated > min(ISOLATED_PER_BATCH, max(ISOLATED_ANYWAY, rows // 2)):
            raise ModelFailedHere(
                f"the model raises on {isolated} or more rows of a batch of {rows}: {_reason(error)}",
                self.state.batches,
            ) from error

    def _call(self, model: LoadedModel, columns: Sequence[pa.Array]) -> tuple[list[pa.Array], pa.Array]:
        task, rows = self.task, len(columns[0])
        self.state = replace(self.state, calls=self.state.calls + 1)
        result = model.predict(to_frame(task.inputs, columns))
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
        self, profile: TableProfile, columns: Sequence[pa.Array], arrays: Sequence[pa.Array], classes: Any
    ) -> None:
        named: dict[str, Any] = {c.name: a for c, a in zip(self.task.inputs, columns, strict=True)}
        for wanted, array in zip(self.task.outputs, arrays, strict=True):
            named[wanted.name] = array
            if wanted.name == "probability" and classes is not None:
                named |= _by_class(wanted.name, array, classes)
        profile.update({s.name: named[s.name] for s in self.task.specs if s.name in named})

    def close(self) -> bytes:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        done = replace(
            self.state,
            counts=tuple(tuple(int(n) for n in b) for b in self.bits),
            cpu_seconds=time.process_time() - self.cpu,
            peak_rss_mb=peak,
            profile=self.profile,
        )
        return done.to_bytes()


def _by_class(name: str, array: pa.ListArray, classes: Sequence[Any]) -> dict[str, np.ndarray]:
    """``probability_<class>``: one array per class from the lists of the rows that have one."""
    values = array.drop_null().flatten().to_numpy(zero_copy_only=False)
    matrix = values.reshape(-1, len(classes))
    return {f"{name}_{label}": np.ascontiguousarray(matrix[:, i]) for i, label in enumerate(classes)}


def _spread(arrays: list[pa.Array], keep: np.ndarray) -> list[pa.Array]:
    """Results of the kept rows at their places, NULL elsewhere."""
    places = np.cumsum(keep) - 1
    index = pa.array(places, mask=~keep)
    return [a.take(index) for a in arrays]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:500] if str(error) else ''}"


def _worker_name() -> str:
    return f"{os.uname().nodename}:{os.getpid()}"


def _task() -> int:
    from pyspark import TaskContext

    context = TaskContext.get()
    return -1 if context is None else context.partitionId()
