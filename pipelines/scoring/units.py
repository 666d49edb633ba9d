"""Units of work: row groups, or parts of texts, that are read, scored and committed together, by whichever task gets
there first.

How an input is cut depends on its files alone, so that a second attempt finds the first one's units.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

_SMALLEST, LARGEST, _PARTS = 4 << 20, 128 << 20, 64  # bytes before compression
_COLUMNS = 32  # for each so many a smallest unit is as large again: its account has a share of each column
_TEXT = 4  # so many bytes of text are one of a row group: a unit's account costs what 10,000 rows do
ACCOUNT, ROWS = "account.json", "rows.json"
STOP, FAILED, CLAIMS = "stop", "failed.json", ".claims"
UNKNOWN = 1 << 60  # rows of a text nobody has unpacked yet


@dataclass(frozen=True)
class Piece:
    """Neighbouring row groups of one file, or neighbouring parts of a text: of these, ``groups`` are the places at
    which they begin and ``rows`` is how many there can be at most."""

    path: str
    groups: tuple[int, ...]
    rows: int
    bytes: int

    @property
    def start(self) -> int:
        """Where a part of a text begins."""
        return self.groups[0]

    @property
    def stop(self) -> int:
        """Where it ends; the line in which that is belongs to it."""
        return self.start + self.bytes


@dataclass(frozen=True)
class Unit:
    """``id`` says what is in it: the same pieces have the same id in every attempt."""

    id: str
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        return sum(p.rows for p in self.pieces)

    @property
    def bytes(self) -> int:
        return sum(p.bytes for p in self.pieces)


def cut(groups: Iterable[Any], columns: int = 1) -> tuple[Unit, ...]:
    """Row groups, in their order, as units: about 64 of them, but none below 4 MB (more where there are many columns)
    or (if a row group allows) above 128 MB."""
    groups = [g for g in groups if g.rows]
    target = target_of(sum(g.bytes for g in groups), columns)
    units: list[Unit] = []
    waiting: list[Any] = []
    size = 0
    for group in groups:
        waiting.append(group)
        size += group.bytes
        if size >= target:
            units.append(_unit(waiting))
            waiting, size = [], 0
    return (*units, _unit(waiting)) if waiting else tuple(units)


@dataclass(frozen=True)
class Part:
    """A part of a text, in the form of a row group: ``number`` is where it begins; ``rows``, at most how many records
    begin in it that have all fields."""

    path: str
    number: int
    rows: int
    bytes: int


def text_parts(files: Iterable[Any], fields: int, packed: tuple[str, ...]) -> list[Part]:
    """Texts in parts of a unit's size; those whose names end like ``packed`` ones are not cut."""
    files = [f for f in files if f.size]
    target = _TEXT * target_of(sum(f.size for f in files) // _TEXT, fields)
    parts = []
    for file in files:
        if file.path.endswith(packed):
            parts.append(Part(file.path, 0, UNKNOWN, file.size))
            continue
        for start in range(0, file.size, target):
            size = min(target, file.size - start)
            parts.append(Part(file.path, start, size // fields + 1, size))
    return parts


def target_of(size: int, columns: int = 1) -> int:
    """Bytes of a unit, of an input of this size."""
    return min(max(size // _PARTS, _SMALLEST * max(1, columns // _COLUMNS)), LARGEST)


def _unit(groups: Sequence[Any]) -> Unit:
    pieces = []
    for path, members in groupby(groups, lambda g: g.path):
        mine = list(members)
        numbers = tuple(g.number for g in mine)
        pieces.append(Piece(path, numbers, sum(g.rows for g in mine), sum(g.bytes for g in mine)))
    text = json.dumps([vars(p) for p in pieces])  # asdict copies all that is in them
    return Unit(hashlib.sha256(text.encode()).hexdigest()[:20], tuple(pieces))


@dataclass(frozen=True)
class Rows:
    """What became of a unit's rows; ``rest`` are lines that Spark has yet to judge."""

    scored: int
    quarantined: int
    rest: int = 0

    @property
    def read(self) -> int:
        return self.scored + self.quarantined


class UnitFolder:
    """A folder in which a unit is written, and which gets its name when all is there."""

    def __init__(self, root: Path, unit: str) -> None:
        self.root, self.unit = root, unit
        self.draft = root / f".{unit}-{uuid.uuid4().hex[:8]}"
        self.draft.mkdir(parents=True)

    def commit(self, rows: Rows, account: dict[str, Any]) -> None:
        """Make the unit visible, unless another attempt of the same task has done so already."""
        (self.draft / ROWS).write_text(json.dumps(asdict(rows)))
        (self.draft / ACCOUNT).write_text(json.dumps(account))
        try:
            os.rename(self.draft, self.root / self.unit)
        except OSError:
            if not is_done(self.root, self.unit):
                raise
            self.abandon()

    def abandon(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.draft, ignore_errors=True)


def is_done(root: Path, unit: str) -> bool:
    """Whether a unit is committed."""
    return (root / unit / ROWS).is_file()


def rows_of(root: Path, unit: str) -> Rows:
    """What became of a committed unit's rows."""
    return Rows(**json.loads((root / unit / ROWS).read_text()))


def account_of(root: Path, unit: str) -> dict[str, Any]:
    """The account of a committed unit."""
    body: dict[str, Any] = json.loads((root / unit / ACCOUNT).read_text())
    return body


def clear(folder: Path) -> None:
    """Forget what an earlier run has claimed and noted there; the units that it has committed stay."""
    for left in (STOP, FAILED):
        (folder / left).unlink(missing_ok=True)
    shutil.rmtree(folder / CLAIMS, ignore_errors=True)
    (folder / CLAIMS).mkdir()


def stopped(folder: str) -> bool:
    """Whether all tasks are to end."""
    return os.path.exists(os.path.join(folder, STOP))


def note(folder: str, body: dict[str, Any]) -> None:
    """Tell the driver of a failure, and all tasks to end. The first failure is the one to tell."""
    path = Path(folder) / FAILED
    draft = path.with_name(f".{FAILED}-{os.getpid()}")
    draft.write_text(json.dumps(body))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    (Path(folder) / STOP).touch()
