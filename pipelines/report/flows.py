"""Where the rows went, as a picture: one stream in, one to the scored rows, one to each reason of quarantine."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.records import RunRecord
from pipelines.report.figures import clip, count, percent, plural

REASONS = 6  # streams of their own, the largest ones
SLOT = 100  # height of one stream's place in the picture
_FULL, _THINNEST = 80.0, 3.0


@dataclass(frozen=True)
class Stream:
    """One outlet: its outline in a box of 100 x (slots * 100), its name and how many rows it took."""

    path: str
    kind: str
    name: str
    said: str


@dataclass(frozen=True)
class Flow:
    """All streams of one run; ``said`` is the picture in one sentence."""

    read: int
    streams: tuple[Stream, ...]
    said: str


def flow(record: RunRecord) -> Flow | None:
    """The picture of a run's rows; None where nothing was read or it is not known where the rows went.

    A row that breaks several rules is in the counts of each; the streams are drawn so that they add up.
    """
    rows = record.rows
    read = rows.get("read", 0)
    if not read or "scored" not in rows:
        return None
    outlets = [("", "Scored", rows["scored"], float(rows["scored"])), *_quarantined(record)]
    if (lost := read - rows["scored"] - rows.get("quarantined", 0)) > 0:
        outlets.append(("bad", "Not accounted for", lost, float(lost)))
    streams, start = [], 0.0
    for slot, (kind, name, n, drawn) in enumerate(outlets):
        width = _FULL * drawn / read
        path = _ribbon(start, slot, width) if n else ""
        streams.append(Stream(path, kind, clip(name, 120), f"{count(n)} · {percent(n / read)}"))
        start += width
    told = "; ".join(f"{s.name} {s.said}" for s in streams)
    return Flow(read, tuple(streams), f"Of {count(read)} rows read: {told}.")


def _quarantined(record: RunRecord) -> list[tuple[str, str, int, float]]:
    """Kind, name, rows and rows as drawn of each reason; the smallest ones together."""
    total = record.rows.get("quarantined", 0)
    by = sorted(record.quarantined_by.items(), key=lambda item: (-item[1], item[0]))
    if not total or not by:
        return [("bad", "Quarantined", total, float(total))]
    scale = total / max(sum(n for _, n in by), 1)
    head = by if len(by) <= REASONS else by[: REASONS - 1]
    outlets = [("bad", name, n, n * scale) for name, n in head]
    rest = by[len(head) :]
    if rest:
        n = sum(n for _, n in rest)
        outlets.append(("bad", plural(len(rest), "other reason"), n, n * scale))
    return outlets


def _ribbon(start: float, slot: int, width: float) -> str:
    """From the left edge, ``start`` below the top of the stream, into the middle of its place on the right."""
    width = max(width, _THINNEST)
    left, right = min((SLOT - _FULL) / 2 + start, SLOT - width), SLOT * slot + (SLOT - width) / 2
    over = f"M0 {left:.1f}C55 {left:.1f} 45 {right:.1f} 100 {right:.1f}"
    return f"{over}v{width:.1f}C45 {right + width:.1f} 55 {left + width:.1f} 0 {left + width:.1f}z"
