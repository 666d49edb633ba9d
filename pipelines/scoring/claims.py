"""Which Spark task scores which units: each has its own, and whoever is ready first helps the others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.scoring.units import CLAIMS, LARGEST, Unit

_TOLD = 20_000  # units at most that all tasks together are told of, so that what is sent does not grow as their square
_LONG = 4 << 30  # bytes of input that a core has before cores may come and go meanwhile


@dataclass(frozen=True)
class Share:
    """What one Spark task is told: its own units, and those of other tasks, which it takes on when its own are done and
    nobody has begun them."""

    number: int
    own: tuple[Unit, ...]
    others: tuple[Unit, ...] = ()


def shares(units: Sequence[Unit], cores: int) -> list[Share]:
    """Units by Spark task.

    There is one a core, and whoever is ready first helps the others. Where tasks would be long there are three a core,
    for cores that come meanwhile; where they would have to know of too many units, there are more of them and each
    keeps to its own.
    """
    total = sum(u.bytes for u in units)
    count = min(len(units), cores if total <= cores * _LONG else 3 * cores)
    helping = count * len(units) <= _TOLD
    if not helping:
        count = max(3 * cores, total // (2 * LARGEST))
    count = max(1, min(len(units), count))
    size, larger = divmod(len(units), count)
    ends = [size * i + min(i, larger) for i in range(count + 1)]
    parts = [tuple(units[a:b]) for a, b in pairwise(ends)]
    if not helping:
        return [Share(i, part) for i, part in enumerate(parts)]
    # of the next one first, and what it would come to last
    return [
        Share(i, part, tuple(u for j in range(1, count) for u in reversed(parts[(i + j) % count])))
        for i, part in enumerate(parts)
    ]


def taken(folder: str, share: Share) -> Iterator[Unit]:
    """The units that a task is to score, each claimed for it just before.

    What an earlier attempt of the same task has claimed is the task's own. A claim saves work and no more: two that
    score the same unit are told apart when they commit it. Where links cannot be made, each task keeps to its own.
    """
    for unit in share.own:
        if _claimed(folder, unit, share.number) is not False:
            yield unit
    for unit in share.others:
        if _claimed(folder, unit, share.number):
            yield unit


def _claimed(folder: str, unit: Unit, number: int) -> bool | None:
    """Whether the unit is the task's; None where that cannot be known. A link is made at one instant, with its text."""
    path = os.path.join(folder, CLAIMS, unit.id)
    try:
        os.symlink(str(number), path)
    except FileExistsError:
        return os.readlink(path) == str(number)
    except OSError:
        return None
    return True
