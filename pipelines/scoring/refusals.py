"""Rows that a worker refuses, as records of the quarantine table: what was read, where, at which stage and why."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LEGAL = string.ascii_letters + string.digits + "_-!.~'()*,;:$&+=/@"  # what Java leaves as it is in a path


class Verdicts:
    """Counts rows by rule."""

    def __init__(self, names: Sequence[str]) -> None:
        self.counts = [0] * len(names)

    def count(self, verdicts: list[Any], rows: int) -> list[Any]:
        """Add a batch; a verdict is an array of ``rows`` truth values, or one that holds for all of them."""
        for i, verdict in enumerate(verdicts):
            self.counts[i] += int(np.count_nonzero(verdict)) if np.ndim(verdict) else rows * int(verdict)
        return verdicts


def quarantined(task: Any, batch: Any, gone: np.ndarray, parts: Sequence[Any]) -> pa.RecordBatch:
    """The refused rows of a batch.

    Args:
        task: a ``ScanTask``.
        batch: a ``Batch`` as it was read; ``gone``: which of its rows are refused.
        parts: verdicts before the model, which rows reached it, their errors, which rows it answered, and
            verdicts on these.
    """
    before, keep, errors, predicted, after = parts
    rows = int(gone.sum())
    places = np.flatnonzero(gone)
    early = [np.broadcast_to(v, len(gone))[places] for v in before]
    late = [_at(v, predicted)[places] for v in after]
    error = _error_texts(errors, keep, places)
    stage = np.where(~keep[places], "input", np.where(~predicted[places], "predict", "output"))
    for verdict in (v for v, reads in zip(early, task.before.reading, strict=True) if reads):
        stage = np.where(verdict, "read", stage)
    wanted = pa.array(places)
    values = [batch.columns[f.name].take(wanted) for f in task.schema]
    values += [
        pa.nulls(rows, pa.string()) if batch.raw is None else batch.raw.take(wanted),
        pa.repeat(batch.source, rows) if isinstance(batch.source, str) else batch.source.take(wanted),
        pa.array(stage, pa.string()),
        _reasons(task, early, error, late),
        pa.repeat(task.model_id, rows),
    ]
    fitted = [v if v.type == t else v.cast(t) for v, t in zip(values, task.quarantine.types, strict=True)]
    return pa.RecordBatch.from_arrays(fitted, schema=task.quarantine)


def uri(path: str) -> str:
    """A path as Spark shows it in ``_metadata.file_path``."""
    return "file:" + "".join(c if c in _LEGAL or ord(c) > 127 else quote(c) for c in path)


def _at(verdict: Any, predicted: np.ndarray) -> np.ndarray:
    full = np.zeros(len(predicted), bool)
    full[predicted] = verdict
    return full


def _error_texts(errors: pa.Array, keep: np.ndarray, places: np.ndarray) -> pa.Array:
    """The model's complaint about each refused row, NULL where it has none."""
    index = np.cumsum(keep) - 1
    return errors.take(pa.array(index[places], mask=~keep[places]))


def _reasons(task: Any, early: list[np.ndarray], error: pa.Array, late: list[np.ndarray]) -> pa.ListArray:
    """All reasons of each row: rules on inputs, the model's error, rules on predictions."""
    rules = [(n, m) for n, r, m in zip(task.before.names, task.before.reported, early, strict=True) if r]
    place = len(rules)
    rules.append(("", error.is_valid().to_numpy(zero_copy_only=False)))
    rules += [(n, m) for n, r, m in zip(task.after.names, task.after.reported, late, strict=True) if r]
    row, rule = np.nonzero(np.stack([m for _, m in rules], axis=1))
    names = pa.array([n for n, _ in rules], pa.string()).take(pa.array(rule))
    of_model = pa.array(rule == place)
    texts = pc.if_else(of_model, error.take(pa.array(row)).cast(pa.string()), names)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(error)))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), texts)
