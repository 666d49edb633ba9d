"""The schema contract: which source column feeds which model input, by name, without losing a value.

Widening is accepted, narrowing is refused by name. Where a widening is exact only for most values (bigint to
double), the rows for which it is not are named by a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DecimalType, StructType

from pipelines import near
from pipelines.errors import ConfigInvalid
from pipelines.records import ModelColumn
from pipelines.rules import RowRule, column

_SPARK_TYPE = {
    "boolean": "boolean", "integer": "int", "long": "bigint", "float": "float", "double": "double",
    "string": "string", "binary": "binary", "datetime": "timestamp",
}  # fmt: skip
_ACCEPTED = {
    "boolean": {"boolean"},
    "integer": {"tinyint", "smallint", "int"},
    "long": {"tinyint", "smallint", "int", "bigint"},
    "float": {"tinyint", "smallint", "float"},
    "double": {"tinyint", "smallint", "int", "bigint", "float", "double"},
    "string": {"string"},
    "binary": {"binary"},
    "datetime": {"date", "timestamp", "timestamp_ntz"},
}


@dataclass(frozen=True)
class Binding:
    """What feeds the model.

    ``columns``: one Spark column per model input, in the model's order, lossless in its type. ``rules``: values
    that the model's signature does not admit. ``unused``: source columns that it does not read.
    """

    inputs: tuple[ModelColumn, ...]
    columns: tuple[Callable[[], Column], ...]
    rules: tuple[RowRule, ...]
    unused: tuple[str, ...]


def spark_type(model_type: str) -> str:
    """Spark's name for a type of a model signature; ``array<T>`` of any depth included."""
    if model_type.startswith("array<"):
        return f"array<{spark_type(model_type[6:-1])}>"
    return _SPARK_TYPE[model_type]


def wanted_types(
    inputs: Sequence[ModelColumn], renamed: Mapping[str, str], declared: Mapping[str, str]
) -> dict[str, str]:
    """Spark type by source column, for a source that has no types of its own (CSV)."""
    signature = {
        renamed.get(c.name, c.name): spark_type(c.type) for c in inputs if not c.type.startswith("array<")
    }
    return {**signature, **declared}


def bind(
    inputs: Sequence[ModelColumn], schema: StructType, renamed: Mapping[str, str], required: Sequence[str]
) -> Binding:
    """Bind model inputs to the columns of ``schema``.

    Args:
        renamed: model input name to source column name, where they differ.
        required: key and carried columns, which must exist too.

    Raises:
        ConfigInvalid: naming every missing column with its near misses and every type that would lose values.
    """
    available = {f.name: f.dataType for f in schema.fields}
    problems = [f"source.columns.{n}: the model has no such input{near.told(n, [c.name for c in inputs])}"
                for n in renamed if n not in {c.name for c in inputs}]  # fmt: skip
    problems += [
        f"column {n!r} is missing{near.told(n, list(available))}" for n in required if n not in available
    ]
    for wanted in inputs:
        problems += _mismatch(wanted, renamed.get(wanted.name, wanted.name), available)
    if problems:
        listing = "\n".join(f"  - {p}" for p in problems)
        raise ConfigInvalid(
            f"source: the input does not fit the model and the configuration, {len(problems)} problem(s):\n{listing}\n",
            hint="Map names that differ in source.columns, or correct the input.",
        )
    columns = tuple(_cast(c, renamed.get(c.name, c.name), available) for c in inputs)
    rules = {r.name: r for c in inputs for r in _rules(c, renamed.get(c.name, c.name), available)}
    used = {renamed.get(c.name, c.name) for c in inputs}
    return Binding(
        tuple(inputs), columns, tuple(rules.values()), tuple(n for n in available if n not in used)
    )


def _mismatch(wanted: ModelColumn, source: str, available: Mapping[str, DataType]) -> list[str]:
    if source not in available:
        if not wanted.required:
            return []
        like = near.told(source, list(available))
        return [f"model input {wanted.name!r} ({wanted.type}): column {source!r} is missing{like}"]
    if _fits(wanted.type, available[source]):
        return []
    found = available[source].simpleString()
    return [
        f"model input {wanted.name!r}: column {source!r} is {found}, expected {wanted.type}; it would lose values"
    ]


def _fits(model_type: str, found: DataType) -> bool:
    if model_type.startswith("array<"):
        return isinstance(found, ArrayType) and _fits_within(model_type[6:-1], found.elementType)
    if model_type == "double" and isinstance(found, DecimalType):
        return True
    name = found.simpleString()
    return name in _ACCEPTED[model_type] or (
        model_type == "string" and name.startswith(("char(", "varchar("))
    )


def _fits_within(model_type: str, found: DataType) -> bool:
    """Elements of arrays have no rule of their own, so that only what is exact for all values will do."""
    return _fits(model_type, found) and not (model_type == "double" and found.simpleString() == "bigint")


def _cast(wanted: ModelColumn, source: str, available: Mapping[str, DataType]) -> Callable[[], Column]:
    target = spark_type(wanted.type)
    if source not in available:
        return lambda: F.lit(None).cast(target)
    return lambda: column(source).cast(target)


def _rules(wanted: ModelColumn, source: str, available: Mapping[str, DataType]) -> list[RowRule]:
    if source not in available:
        return []
    found = available[source].simpleString()
    rules = []
    if wanted.required:  # MLflow infers optional from NULL and NaN alike, so required admits neither
        missing = (
            (lambda: column(source).isNull() | F.isnan(column(source)))
            if found in ("float", "double")
            else (lambda: column(source).isNull())
        )
        rules.append(RowRule(f"required({source})", "input", missing))
    if wanted.type == "double" and found == "bigint":
        rules.append(RowRule(f"inexact({source})", "input", lambda: _inexact(source)))
    return rules


def _inexact(source: str) -> Column:
    """Whether a bigint is no double. The way back goes through bigint: a cast to decimal takes the digits that a
    double prints, not its value. 2**63 itself has no way back, and only numbers that are not it come there."""
    value, limit = column(source), F.lit(2**53)
    rounded = value.cast("double")
    there_and_back = F.when(rounded < F.lit(2.0**63), rounded.cast("bigint"))
    return ~value.between(-limit, limit) & ~there_and_back.eqNullSafe(value)
