"""What runs in a Python worker that Spark feeds: batches of Arrow columns in, predictions out.

Rows that break a critical rule come along but never reach the model. The last batch of a task carries the
worker's account of it: rows, rule counts, profile, time, memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipelines.scoring.account import Account, Task
from pipelines.scoring.allocator import keep_freed_memory
from pipelines.scoring.loaders import LoadedModel
from pipelines.scoring.reuse import reusable
from pipelines.scoring.spark_task import attempts

ERROR, STATE = "__error", "__state"  # a model may well have an output called error
BITS = 60  # rules per mask column, as in pipelines.rules, which workers do not import


def run(
    task: Task, payload: Callable[[], bytes], batches: Iterator[tuple[pa.Array, ...]]
) -> Iterator[pa.Array]:
    """Score the batches of one Spark task.

    Each batch is the model's input columns, the mask columns and the values of the slices; each result a struct
    array of as many rows: the outputs, ``__error`` (text or NULL) and ``__state`` (NULL but in the last row of
    the last batch).
    """
    keep_freed_memory()
    with reusable():
        yield from _scored(Account(task, attempts()), payload, batches)


def _scored(
    account: Account, payload: Callable[[], bytes], batches: Iterator[tuple[pa.Array, ...]]
) -> Iterator[pa.Array]:
    task = account.task
    bits = [np.zeros(BITS, np.int64) for _ in task.critical]
    loaded: LoadedModel | None = None
    waiting: list[pa.Array] | None = None
    for batch in batches:
        if loaded is None:
            loaded = account.load(task.model, payload)
        if waiting is not None:
            yield _struct(task, waiting, None)
        waiting = _score(account, loaded, batch, bits)
    if waiting is not None:
        state = account.close(tuple(tuple(int(n) for n in b) for b in bits))
        yield _struct(task, waiting, state.to_bytes())


def _struct(task: Task, arrays: list[pa.Array], state: bytes | None) -> pa.StructArray:
    rows = len(arrays[-1])
    states = pa.array([None] * (rows - 1) + [state], pa.binary()) if state else pa.nulls(rows, pa.binary())
    names = [*(c.name for c in task.outputs), ERROR, STATE]
    return pa.StructArray.from_arrays([*arrays, states], names)


def _score(
    account: Account, model: LoadedModel, batch: Sequence[pa.Array], bits: list[np.ndarray]
) -> list[pa.Array]:
    task = account.task
    width, last = len(task.inputs), len(batch) - len(task.slices)
    keep = _screen(task, batch[width:last], len(batch[0]), bits)
    whole = bool(keep.all())
    columns, slices = (
        list(part) if whole else [a.filter(pa.array(keep)) for a in part]
        for part in (batch[:width], batch[last:])
    )
    arrays, errors = account.predict(model, columns, len(keep), slices)
    return [*arrays, errors] if whole else spread([*arrays, errors], keep)


def _screen(task: Task, masks: Sequence[pa.Array], rows: int, counts: list[np.ndarray]) -> np.ndarray:
    """Which rows reach the model; counts every rule on the way."""
    keep = np.ones(rows, dtype=bool)
    for bits, mask, critical in zip(counts, masks, task.critical, strict=True):
        values = mask.to_numpy(zero_copy_only=False)
        marked = values[values != 0]
        if len(marked):
            patterns, times = np.unique(marked, return_counts=True)
            bits += (((patterns[:, None] >> np.arange(BITS)) & 1) * times[:, None]).sum(axis=0)
            keep &= (values & critical) == 0
    return keep


def spread(arrays: list[pa.Array], keep: np.ndarray) -> list[pa.Array]:
    """Results of the kept rows at their places, NULL elsewhere."""
    places = np.cumsum(keep) - 1
    index = pa.array(places, mask=~keep)
    return [a.take(index) for a in arrays]
