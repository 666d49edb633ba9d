"""Programs over the columns of a batch, with the semantics of Spark SQL.

Three-valued logic, NaN equal to itself and above all numbers, strings compared by their bytes. A value is a
pair: data, and where it is valid (None: everywhere). Data are numpy, Arrow for strings; either may be a scalar.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Value = tuple[Any, Any]
NUMPY = {
    "boolean": np.bool_, "byte": np.int8, "short": np.int16, "integer": np.int32, "long": np.int64,
    "float": np.float32, "double": np.float64, "date": np.int32, "timestamp": np.int64, "timestamp_ntz": np.int64,
}  # fmt: skip
_ARROW = {
    "boolean": pa.bool_(), "byte": pa.int8(), "short": pa.int16(), "integer": pa.int32(), "long": pa.int64(),
    "float": pa.float32(), "double": pa.float64(), "string": pa.string(), "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"), "timestamp_ntz": pa.timestamp("us"),
}  # fmt: skip
_DAY = 86_400_000_000  # microseconds
_FEW = 16
_ARROW_COMPARE = {"eq": pc.equal, "lt": pc.less, "le": pc.less_equal}
_NUMPY_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "lt": operator.lt,
    "le": operator.le,
}


@dataclass(frozen=True)
class Step:
    """One operation; ``args`` are places of earlier steps, ``value`` a column's name, a literal or literals."""

    op: str
    type: str
    args: tuple[int, ...] = ()
    value: Any = None


@dataclass(frozen=True)
class Program:
    """``steps`` in order of evaluation, each computed once per batch; ``roots`` are the places of the results."""

    steps: tuple[Step, ...]
    roots: tuple[int, ...]

    def pruned(self) -> Program:
        """The same results from only the steps that they need."""
        needed = set(self.roots)
        for place in range(len(self.steps) - 1, -1, -1):
            if place in needed:
                needed |= set(self.steps[place].args)
        places = sorted(needed)
        moved = {old: new for new, old in enumerate(places)}
        kept = [replace(self.steps[i], args=tuple(moved[a] for a in self.steps[i].args)) for i in places]
        return Program(tuple(kept), tuple(moved[r] for r in self.roots))

    def run(self, columns: Mapping[str, pa.Array], rows: int) -> list[Value]:
        """The values of the roots for a batch of ``rows`` rows."""
        values: list[Value] = []
        with np.errstate(invalid="ignore", over="ignore"):
            for step in self.steps:
                if step.op == "column":
                    values.append(_column(columns[step.value], step.type))
                else:
                    values.append(_OPS[step.op](step, self, [values[a] for a in step.args]))
        return [values[root] for root in self.roots]

    def verdicts(self, columns: Mapping[str, pa.Array], rows: int) -> list[Any]:
        """Boolean roots, NULL as False: an array of ``rows`` truth values, or a single one that holds for all."""
        return [data if valid is None else data & valid for data, valid in self.run(columns, rows)]

    def arrays(self, columns: Mapping[str, pa.Array], rows: int) -> list[pa.Array]:
        """The roots as Arrow arrays of ``rows`` values; a plain column comes as it is."""
        results = self.run(columns, rows)
        steps = [self.steps[root] for root in self.roots]
        return [
            columns[step.value] if step.op == "column" else as_arrow(result, step.type, rows)
            for step, result in zip(steps, results, strict=True)
        ]


def as_arrow(value: Value, kind: str, rows: int) -> pa.Array:
    """A value as an array of ``rows``."""
    data, valid = value
    if valid is not None and not np.ndim(valid) and not valid:
        return pa.nulls(rows, _ARROW[kind])
    if isinstance(data, pa.Array):
        return data if valid is None else pc.if_else(pa.array(valid), data, None)
    if isinstance(data, (str, pa.Scalar)):
        return pa.repeat(pa.scalar(data, _ARROW[kind]), rows)
    full: Any = np.ascontiguousarray(np.broadcast_to(data, rows), NUMPY[kind])
    mask = None if valid is None else ~np.broadcast_to(valid, rows)
    if kind.startswith("timestamp"):
        full = full.view("datetime64[us]")
    return pa.array(full, mask=mask).cast(_ARROW[kind])


def _column(array: pa.Array, kind: str) -> Value:
    valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    if kind not in NUMPY:
        return array, valid
    if kind == "date":
        array = array.cast(pa.int32())
    elif kind.startswith("timestamp"):
        array = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64())
    if valid is not None and kind not in ("float", "double"):  # numpy's integers have no NULL
        array = array.fill_null(pa.scalar(0).cast(array.type))
    return array.to_numpy(zero_copy_only=False), valid


def _both(*valid: Any) -> Any:
    known = [v for v in valid if v is not None]
    if not known:
        return None
    result = known[0]
    for v in known[1:]:
        result = result & v
    return result


def _is_nan(data: Any) -> Any:
    return (
        np.isnan(data) if getattr(data, "dtype", None) is not None and data.dtype.kind == "f" else np.False_
    )


def _literal(step: Step, program: Program, args: list[Value]) -> Value:
    if step.value is None:
        return (NUMPY[step.type](0) if step.type in NUMPY else pa.scalar("")), np.False_
    return (NUMPY[step.type](step.value) if step.type in NUMPY else pa.scalar(step.value)), None


def _compare(step: Step, program: Program, args: list[Value]) -> Value:
    (left, a), (right, b) = args
    valid = _both(a, b)
    if isinstance(left, (pa.Array, pa.Scalar)):
        found = _ARROW_COMPARE[step.op](left, right)
        if isinstance(found, pa.Scalar):
            return np.bool_(bool(found.as_py())), valid
        return found.fill_null(False).to_numpy(zero_copy_only=False), valid
    return _ordered(step.op, left, right), valid


def _ordered(op: str, left: Any, right: Any) -> Any:
    """Comparison in which NaN is equal to itself and larger than any other number."""
    found = _NUMPY_COMPARE[op](left, right)
    if getattr(left, "dtype", np.dtype(bool)).kind != "f":
        return found
    above = _is_nan(right)
    if not np.any(above):  # the usual case: a bound that is a number
        return found
    beside = _is_nan(left)
    return (
        found | above
        if op == "le"
        else (found | (above & ~beside) if op == "lt" else found | (above & beside))
    )


def _not(step: Step, program: Program, args: list[Value]) -> Value:
    data, valid = args[0]
    return ~data, valid


def _and(step: Step, program: Program, args: list[Value]) -> Value:
    (left, a), (right, b) = args
    if a is None and b is None:
        return left & right, None
    left_true, right_true = _known(left, a), _known(right, b)
    false = _known(~left, a) | _known(~right, b)
    true = left_true & right_true
    return true, true | false


def _or(step: Step, program: Program, args: list[Value]) -> Value:
    (left, a), (right, b) = args
    if a is None and b is None:
        return left | right, None
    true = _known(left, a) | _known(right, b)
    false = _known(~left, a) & _known(~right, b)
    return true, true | false


def _known(data: Any, valid: Any) -> Any:
    return data if valid is None else data & valid


def _null_safe_equal(step: Step, program: Program, args: list[Value]) -> Value:
    (_, a), (_, b) = args
    equal, valid = _compare(Step("eq", "boolean"), program, args)
    if valid is None:
        return equal, None
    left, right = (np.True_ if v is None else v for v in (a, b))
    return (equal & left & right) | (~left & ~right), None


def _is_null(step: Step, program: Program, args: list[Value]) -> Value:
    valid = args[0][1]
    return np.False_ if valid is None else ~valid, None


def _not_null(step: Step, program: Program, args: list[Value]) -> Value:
    valid = args[0][1]
    return np.True_ if valid is None else valid, None


def _nan(step: Step, program: Program, args: list[Value]) -> Value:
    data, valid = args[0]
    return _known(_is_nan(data), valid), None  # Spark: NULL is not NaN


def _in(step: Step, program: Program, args: list[Value]) -> Value:
    """``value IN (literals)``; ``step.value`` are the literals that are not NULL, and whether one was."""
    data, valid = args[0]
    wanted, has_null = step.value
    if isinstance(data, (pa.Array, pa.Scalar)):
        found = pc.is_in(data, pa.array(wanted, pa.string()).cast(data.type))
        found = (
            found.to_numpy(zero_copy_only=False) if isinstance(found, pa.Array) else np.bool_(found.as_py())
        )
    else:
        members = np.array(wanted, data.dtype)
        found = _among(data, members) | (_is_nan(data) if np.any(_is_nan(members)) else np.False_)
    return found, _both(valid, found) if has_null else valid


def _among(data: Any, members: Any) -> Any:
    """``np.isin``, which sorts the data even where there are but a few members."""
    if len(members) > _FEW:
        return np.isin(data, members)
    found: Any = np.zeros(np.shape(data), bool)
    for member in members:
        found |= data == member
    return found


def _coalesce(step: Step, program: Program, args: list[Value]) -> Value:
    result = args[0]
    for other in args[1:]:
        if result[1] is None:
            break
        result = _choose(result[1], result, other)
    return result


def _case(step: Step, program: Program, args: list[Value]) -> Value:
    """Conditions and values in turn, then a last value."""
    result = args[-1]
    for condition, then in reversed(list(zip(args[0:-1:2], args[1:-1:2], strict=True))):
        result = _choose(_known(*condition), then, result)
    return result


def _choose(chosen: Any, one: Value, other: Value) -> Value:
    if not np.ndim(chosen):
        return one if chosen else other
    (a, valid_a), (b, valid_b) = one, other
    if isinstance(a, (pa.Array, pa.Scalar)):
        data = pc.if_else(pa.array(chosen), a, b)
    elif valid_b is not None and not np.ndim(valid_b) and not valid_b:
        data = a  # where the other is NULL its data do not matter
    else:
        data = np.where(chosen, a, b)
    if valid_a is None and valid_b is None:
        return data, None
    return data, np.where(chosen, True if valid_a is None else valid_a, True if valid_b is None else valid_b)


def _cast(step: Step, program: Program, args: list[Value]) -> Value:
    data, valid = args[0]
    source = program.steps[step.args[0]].type
    if source == "date":
        return data.astype(np.int64) * _DAY, valid
    if step.type == "long" and source == "double":
        fits = (data >= -(2.0**63)) & (data < 2.0**63)
        return np.where(fits, data, 0.0).astype(np.int64), _both(valid, fits)
    return data.astype(NUMPY[step.type], copy=False), valid


def _length(step: Step, program: Program, args: list[Value]) -> Value:
    data, valid = args[0]
    lengths = pc.utf8_length(data)
    if isinstance(lengths, pa.Scalar):
        return np.int32(lengths.as_py() or 0), valid
    return lengths.fill_null(0).to_numpy(zero_copy_only=False), valid


def _arithmetic(function: Callable[..., Any]) -> Callable[[Step, Program, list[Value]], Value]:
    def apply(step: Step, program: Program, args: list[Value]) -> Value:
        return function(*(data for data, _ in args)), _both(*(valid for _, valid in args))

    return apply


_OPS: dict[str, Callable[[Step, Program, list[Value]], Value]] = {
    "literal": _literal,
    "eq": _compare,
    "lt": _compare,
    "le": _compare,
    "eqn": _null_safe_equal,
    "not": _not,
    "and": _and,
    "or": _or,
    "isnull": _is_null,
    "isnotnull": _not_null,
    "isnan": _nan,
    "in": _in,
    "coalesce": _coalesce,
    "case": _case,
    "cast": _cast,
    "length": _length,
    "add": _arithmetic(operator.add),
    "sub": _arithmetic(operator.sub),
    "mul": _arithmetic(operator.mul),
    "abs": _arithmetic(np.abs),
    "neg": _arithmetic(operator.neg),
}
