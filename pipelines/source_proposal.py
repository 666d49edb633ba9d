"""How a source should be read, drawn from a sample of it and the model's signature."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import Path

from pyspark.sql import types as T

from pipelines import binding
from pipelines.errors import ConfigInvalid
from pipelines.records import ModelColumn
from pipelines.sample import Sample, folded, is_unique, suggested_type, unreadable

_ISO_DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
_ID = re.compile(r"(^|[^a-z])((id|uuid|guid|key|pk)|nr|no|num|number|code|serial)$")
_LONGEST_KEY = 64  # characters: a longer text is a remark
_DATA_TYPE: Mapping[str, type[T.DataType]] = {
    "boolean": T.BooleanType, "int": T.IntegerType, "bigint": T.LongType, "float": T.FloatType,
    "double": T.DoubleType, "string": T.StringType, "binary": T.BinaryType, "timestamp": T.TimestampType,
    "date": T.DateType,
}  # fmt: skip


@dataclass(frozen=True)
class SourceProposal:
    """``columns``: model input to source column, where they differ. ``types``: Spark types of CSV columns the
    model does not read. ``schema``: the source as the run will read it. ``key_reason`` says why this key."""

    path: str
    columns: Mapping[str, str]
    types: Mapping[str, str]
    schema: T.StructType
    key: tuple[str, ...]
    key_reason: str
    warnings: tuple[str, ...]

    def column_of(self, wanted: ModelColumn) -> str:
        """The source column that feeds a model input."""
        return self.columns.get(wanted.name, wanted.name)


def propose(
    path: str, sample: Sample, inputs: Sequence[ModelColumn], key: Sequence[str], taken: Collection[str]
) -> SourceProposal:
    """Propose how to read ``path``.

    Args:
        key: columns to use as the key; where there are none, one is looked for.
        taken: names that the predictions use themselves, so that no key can have them.

    Raises:
        ConfigInvalid: naming every model input and key column that is missing, with its near misses, and
            every column whose type would lose values.
    """
    columns = same_but_for_spelling([c.name for c in inputs], list(sample.types))
    features = {columns.get(c.name, c.name) for c in inputs}
    others = [n for n in sample.types if n not in features]
    types = _text_types(sample, others) if sample.format == "csv" else {}
    schema = _schema(sample, binding.wanted_types(inputs, columns, types))
    try:
        binding.bind(inputs, schema, columns, key)
    except ConfigInvalid as error:
        error.hint = (
            "Correct the sample or the names; a configuration written by hand can map them in source.columns."
        )
        raise
    free = [n for n in others if n.casefold() not in {t.casefold() for t in taken}]
    found, reason = (tuple(key), "as asked for") if key else _key(sample, free, schema)
    where = dated(path)
    warnings = (*_about_path(path, where), *_about_rows(sample, inputs, columns, schema))
    return SourceProposal(where, columns, types, schema, found, reason, warnings)


def same_but_for_spelling(wanted: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Wanted name to source column, where exactly one of each differs in case, spaces and the like only."""
    missing = [w for w in wanted if w not in names]
    spare = [n for n in names if n not in wanted]
    found = {}
    for name in missing:
        alike = [n for n in spare if folded(n) == folded(name)]
        rivals = [w for w in missing if folded(w) == folded(name)]
        if len(alike) == 1 and len(rivals) == 1:
            found[name] = alike[0]
    return found


def dated(path: str) -> str:
    """The path with ``{run_date}`` for the one date that it names."""
    found = {text for text in _ISO_DATE.findall(path) if _is_date(text)}
    return path.replace(found.pop(), "{run_date}") if len(found) == 1 else path


def date_in(path: str) -> str | None:
    """The one date that a path names."""
    found = {text for text in _ISO_DATE.findall(path) if _is_date(text)}
    return found.pop() if len(found) == 1 else None


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _text_types(sample: Sample, names: Sequence[str]) -> dict[str, str]:
    found = {n: suggested_type(sample.rows[n]) for n in names}
    return {n: kind for n, kind in found.items() if kind}


def _schema(sample: Sample, wanted: Mapping[str, str]) -> T.StructType:
    """As the run will read it: CSV with the declared types, Parquet with its own."""
    declared = {n: _DATA_TYPE[kind]() for n, kind in wanted.items() if kind in _DATA_TYPE}
    types = {**sample.types, **declared} if sample.format == "csv" else sample.types
    return T.StructType([T.StructField(n, types[n]) for n in sample.types])


def _key(sample: Sample, names: Sequence[str], schema: T.StructType) -> tuple[tuple[str, ...], str]:
    """The columns that tell rows apart, preferably one that is called an id, and the reason in words."""
    rows = f"the {len(sample.rows)} rows looked at"
    whole = [n for n in names if isinstance(schema[n].dataType, (T.IntegralType, T.StringType))]
    unique = [n for n in whole if is_unique(sample.rows[n]) and _is_short(sample, n)]
    if unique:
        return (max(unique, key=_called_id),), f"unique in {rows}"
    times = [
        n for n in names if isinstance(schema[n].dataType, (T.DateType, T.TimestampType, T.TimestampNTZType))
    ]
    for pair in combinations([n for n in names if n in times or (n in whole and _called_id(n))], 2):
        if _is_unique_pair(sample, *pair):
            return pair, f"together unique in {rows}"
    return (), f"no column outside of the model's inputs is unique in {rows}"


def _called_id(name: str) -> int:
    """How much a name says that it identifies: 2 for an id, 1 for a number or a code, 0 for any other."""
    found = _ID.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return 0 if found is None else 2 if found[3] else 1


def _is_short(sample: Sample, name: str) -> bool:
    return max((len(str(v)) for v in sample.rows[name].slice(0, 100).to_pylist()), default=0) <= _LONGEST_KEY


def _is_unique_pair(sample: Sample, first: str, second: str) -> bool:
    pair = sample.rows.select([first, second])
    complete = not any(column.null_count for column in pair.columns)
    return complete and len(pair) > 0 and len(pair.group_by([first, second]).aggregate([])) == len(pair)


def _about_path(path: str, where: str) -> Iterator[str]:
    if where != path:
        return
    folder = Path(path)
    days = sorted(c.name for c in folder.iterdir() if date_in(c.name)) if folder.is_dir() else []
    if days:
        one = folder / days[-1]
        yield f"{path} holds several dates, all of which every run would read; give the path of one, {one}."
    else:
        yield f"the path {path} names no single date (2026-11-22), so that every run reads the same files."


def _about_rows(
    sample: Sample, inputs: Sequence[ModelColumn], columns: Mapping[str, str], schema: T.StructType
) -> Iterator[str]:
    """What will keep rows from being scored."""
    total = len(sample.rows)
    for each in inputs:
        name = columns.get(each.name, each.name)
        if name not in sample.types:
            yield f"the optional model input {each.name!r} has no column; it will be NULL."
            continue
        values = sample.rows[name]
        if each.required and values.null_count:
            yield (
                f"{name!r}: {values.null_count} of {total} rows looked at have no value, which the model requires; "
                "such rows are quarantined."
            )
        odd = unreadable(values, schema[name].dataType.simpleString()) if sample.format == "csv" else []
        if odd:
            yield (
                f"{name!r}: {len(odd)} of {total} rows looked at hold no {each.type}, such as {odd[0]!r}; such rows "
                "are quarantined. If it stands for a missing value, set source.options.nullValue."
            )
