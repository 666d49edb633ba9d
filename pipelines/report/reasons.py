"""Why rows were set aside, each reason with an example that shows what was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.records import RunRecord
from pipelines.report.figures import clip

RAW = "raw_record"
_SHOWN = 3  # cells of an example that stand beside a reason


@dataclass(frozen=True)
class Reason:
    """A reason, how many rows it took, and a few cells of one of them in words (may be empty)."""

    name: str
    rows: int
    example: str


def reasons(record: RunRecord, examples: Sequence[Mapping[str, Any]]) -> list[Reason]:
    """All reasons of a run, the most frequent first."""
    by = sorted(record.quarantined_by.items(), key=lambda item: (-item[1], item[0]))
    return [Reason(name, n, _example(name, examples)) for name, n in by]


def _example(reason: str, examples: Sequence[Mapping[str, Any]]) -> str:
    """The cells that the reason names, or the whole record where it could not be read."""
    found = next((e for e in examples if reason in (e.get("reasons") or ())), None)
    if found is None:
        return ""
    cells = dict(found.get("row") or {})
    named = [name for name in cells if name and name in reason]
    # "radius" stands inside of "mean radius" too: the longest names are the ones that are meant
    meant = [n for n in named if not any(n != other and n in other for other in named)]
    unread = [RAW] if RAW in cells else []
    shown = (meant or unread or list(cells))[:_SHOWN]
    return ", ".join(f"{clip(n, 40)} = {clip(cells[n], 60)}" for n in shown)
