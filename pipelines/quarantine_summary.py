"""Why rows are in the quarantine: how many for each reason, and a few rows that show what each reason means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.storage import AnyPath

PER_REASON = 2  # rows that show one reason
EXAMPLES = 30  # rows in all
_NEW_REASONS = 50  # looked for in one row group: exceptions may all be worded differently
_OURS = ("stage", "reasons", "source_file")


def summary(
    files: Iterable[AnyPath], uncounted: Collection[str] = ()
) -> tuple[dict[str, int], tuple[dict[str, Any], ...]]:
    """Rows by reason, the most frequent first, and examples in the order of the files.

    An example has ``stage``, ``reasons``, ``source_file`` and, as ``row``, the cells that are not NULL. Only the
    reasons are read of all rows.

    Args:
        files: the Parquet files of a quarantine table.
        uncounted: reasons that send no row away by themselves (warnings).
    """
    counts: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    examples: list[dict[str, Any]] = []
    for file in sorted(files):
        with file.open("rb") as raw, pq.ParquetFile(raw) as parquet:
            for group in range(parquet.num_row_groups):
                reasons = parquet.read_row_group(group, columns=["reasons"]).column(0).combine_chunks()
                found = _counted(reasons, uncounted)
                counts.update(found)
                if rows := _wanted(reasons, found, shown)[: EXAMPLES - len(examples)]:
                    chosen = parquet.read_row_group(group).take(rows)
                    columns = {n: [_cell(v) for v in chosen.column(n)] for n in chosen.column_names}
                    examples += [_example({n: c[i] for n, c in columns.items()}) for i in range(len(rows))]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))), tuple(examples)


def _counted(reasons: pa.ListArray, uncounted: Collection[str]) -> dict[str, int]:
    items = pc.value_counts(pc.list_flatten(reasons)).to_pylist()
    return {item["values"]: item["counts"] for item in items if item["values"] not in uncounted}


def _wanted(reasons: pa.ListArray, found: Mapping[str, int], shown: Counter[str]) -> list[int]:
    """Places of rows with reasons that have not been shown often enough; ``shown`` is brought up to date."""
    wanted: list[int] = []
    values, parents = pc.list_flatten(reasons), pc.list_parent_indices(reasons)
    for reason in [r for r in found if shown[r] < PER_REASON][:_NEW_REASONS]:
        places = parents.filter(pc.equal(values, reason))
        for place in places.slice(0, PER_REASON).to_pylist():
            if shown[reason] < PER_REASON and place not in wanted:
                wanted.append(place)
                shown.update(reasons[place].as_py())
    return wanted


def _cell(value: pa.Scalar) -> Any:
    """A value as Python has it; a text that is no UTF-8, or a date beyond year 9999, as something readable."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.cast(pa.binary()).as_py().decode("utf-8", "replace")
    except (OverflowError, ValueError):
        return str(value.cast(pa.int64() if value.type.bit_width == 64 else pa.int32()))


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    cells = {k: v for k, v in row.items() if k not in (*_OURS, "model_id") and v is not None}
    return {**{k: row.get(k) for k in _OURS}, "row": cells}
