"""Rounds, medians and ratios."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping

Contender = Callable[[], Mapping[str, float] | None]
Series = dict[str, list[float]]


FAILED = "it failed: "


class Missing(Exception):
    """A contender cannot take part; the message says why."""


def interleaved(
    contenders: Mapping[str, Contender], rounds: int, absent: dict[str, str], warm_up: int = 1
) -> dict[str, Series]:
    """Each round runs every contender once, in turn; the first ``warm_up`` rounds do not count.

    Args:
        absent: takes the contenders that cannot take part, with the reason.

    Returns:
        for each other contender its series: ``seconds``, one figure a round, and whatever figures it gives itself. One
        that gives ``seconds`` has timed itself.
    """
    found: dict[str, Series] = {name: {} for name in contenders}
    for number in range(rounds + warm_up):
        for name, run in contenders.items():
            if name in absent:
                continue
            start = time.perf_counter()
            try:
                own = dict(run() or {})
            except Exception as error:  # whatever happens to one, the others go on
                absent[name] = str(error) if isinstance(error, Missing) else f"{FAILED}{_told(error)}"
                sys.stderr.write(f"  {name}: {absent[name]}\n")
                del found[name]
                continue
            figures = {"seconds": time.perf_counter() - start} | own
            label = f"round {number - warm_up + 1}/{rounds}" if number >= warm_up else "warming up"
            sys.stderr.write(f"  {label}  {name}: {figures['seconds']:.2f} s\n")
            if number >= warm_up:
                for key, value in figures.items():
                    found[name].setdefault(key, []).append(round(value, 4))
    return found


def _told(error: Exception) -> str:
    """The kind of an error and its last line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1][:200]}"


def median(values: list[float]) -> float:
    return statistics.median(values)


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios within rounds: a machine whose speed drifts favours none.

    Raises:
        ValueError: the series have different lengths.
    """
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """The smallest and the largest ratio within a round."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return min(ratios), max(ratios)


def steps(cumulative: Mapping[str, list[float]]) -> dict[str, float]:
    """What each further step costs, as the difference of medians; the parts add up to the last one's median."""
    found, before = {}, 0.0
    for name, values in cumulative.items():
        found[name] = median(values) - before
        before = median(values)
    return found
