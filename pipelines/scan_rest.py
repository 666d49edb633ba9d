"""Lines of CSV that workers have left to Spark: its own parser and rules judge them, workers score what is a row."""

from __future__ import annotations

import functools
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines import scoring, screening
from pipelines.errors import InvariantBroken
from pipelines.records import InputFile
from pipelines.scoring import units
from pipelines.scoring.refusals import uri
from pipelines.scoring.sums import Sum
from pipelines.scoring.text import PACKED
from pipelines.scoring.work import ScanTask
from pipelines.screening import Screen
from pipelines.source import SourceTable


def score(
    table: SourceTable, screen: Screen, task: ScanTask, left: Sequence[str], payload: Any
) -> tuple[str, ...]:
    """One Spark job, if units have left lines; the units it makes.

    Args:
        left: the units that have.
    """
    folder = Path(task.folder)
    for old in folder.glob("rest-*"):  # of an attempt that died here
        shutil.rmtree(old)
    kept = {
        folder / unit / name: path
        for unit in left
        for path, name in units.account_of(folder, unit)["rest"].items()
    }
    if not kept or table.load_lines is None:
        return ()
    files = [InputFile(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in kept]
    frame = screening.mark(table.load_lines(files), screen)
    sources = {uri(str(file)): uri(path) for file, path in kept.items()}
    name = f"rest-{uuid.uuid4().hex[:8]}"  # a task of an attempt that died may still be at work
    scored = functools.partial(scoring.score_rest, task, name, sources, payload)
    return tuple(row["unit"] for row in frame.mapInArrow(scored, "unit string").collect())


def lines(table: SourceTable, total: Sum) -> int:
    """How many lines the units have counted.

    Raises:
        InvariantBroken: what they read does not add up to the files.
    """
    for file in table.files:
        found = sorted(tuple(span) for span in total.spans.get(file.path, ()))
        ends = [0, *(stop for _, stop in found)]
        begins = [*(start for start, _ in found), file.size]
        if file.size and begins != ends and not file.path.endswith(PACKED):
            raise InvariantBroken(
                f"{file.path}: the parts that were read begin at {begins[:-1]} and end at {ends[1:]}, expected all of "
                f"its {file.size} bytes once.",
                hint="Nothing was published. Did the file change while it was read? Run again.",
            )
    return total.lines
