"""The account of a task, on its way from the worker to the driver."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pipelines.profiles import TableProfile


class Distribution(NamedTuple):
    """Whole numbers that were observed, in the four figures that add up exactly over tasks."""

    times: int = 0
    total: int = 0
    least: int = 0
    most: int = 0

    def merge(self, other: Distribution) -> Distribution:
        if not (self.times and other.times):
            return self if self.times else other
        least, most = min(self.least, other.least), max(self.most, other.most)
        return Distribution(self.times + other.times, self.total + other.total, least, most)

    def observe(self, value: int) -> Distribution:
        return self.merge(Distribution(1, value, value, value))

    def to_dict(self) -> dict[str, Any]:
        """``count``, ``min``, ``max`` and ``mean``; nothing where nothing was observed."""
        if not self.times:
            return {}
        mean = round(self.total / self.times, 1)
        return {"count": self.times, "min": self.least, "max": self.most, "mean": mean}


NOTHING = Distribution()


@dataclass(frozen=True)
class WorkerState:
    """The account of one task, or of several (see :func:`merge_states`).

    ``counts[j][i]``: rows in which bit i of mask j is set. Seconds are wall seconds inside the worker.
    ``call_rows`` and ``call_micros`` (wall microseconds) are of the calls of the model that have answered,
    ``failed_calls`` counts those that raised.
    ``peak_rss_mb`` is the largest of a worker, ``shared_mb`` what of the model's it shares with others.
    ``forms``: the verdicts on faster forms of the model, as JSON; one where all workers agree.
    """

    rows: int = 0
    predicted: int = 0
    failed: int = 0
    batches: int = 0
    calls: int = 0
    failed_calls: int = 0
    call_rows: Distribution = NOTHING
    call_micros: Distribution = NOTHING
    counts: tuple[tuple[int, ...], ...] = ()
    loads: tuple[tuple[str, float], ...] = ()
    workers: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    predict_seconds: float = 0.0
    peak_rss_mb: float = 0.0
    shared_mb: float = 0.0
    classes: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    profile: TableProfile | None = field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        body = {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "profile"}
        body["profile"] = base64.b64encode(self.profile.to_bytes()).decode() if self.profile else None
        return json.dumps(body).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> WorkerState:
        body = json.loads(data)
        profile = body.pop("profile")
        tuples: dict[str, Any] = {k: tuple(body[k]) for k in ("workers", "classes", "forms")}
        tuples["counts"] = tuple(tuple(c) for c in body["counts"])
        tuples["loads"] = tuple((w, s) for w, s in body["loads"])
        tuples |= {k: Distribution(*body[k]) for k in ("call_rows", "call_micros")}
        state = TableProfile.from_bytes(base64.b64decode(profile)) if profile else None
        return cls(**{**body, **tuples, "profile": state})


def merge_states(states: Iterable[WorkerState]) -> WorkerState:
    """One account of all tasks: sums, except for the largest memory and the distinct workers."""
    total, workers, loads = WorkerState(), set[str](), list[tuple[str, float]]()
    for s in states:
        counts = _add(total.counts, s.counts) if total.counts and s.counts else total.counts or s.counts
        profile = s.profile if total.profile is None or s.profile is None else total.profile.merge(s.profile)
        workers.update(s.workers)
        loads += s.loads
        total = WorkerState(
            rows=total.rows + s.rows,
            predicted=total.predicted + s.predicted,
            failed=total.failed + s.failed,
            batches=total.batches + s.batches,
            calls=total.calls + s.calls,
            failed_calls=total.failed_calls + s.failed_calls,
            call_rows=total.call_rows.merge(s.call_rows),
            call_micros=total.call_micros.merge(s.call_micros),
            counts=counts,
            cpu_seconds=total.cpu_seconds + s.cpu_seconds,
            predict_seconds=total.predict_seconds + s.predict_seconds,
            peak_rss_mb=max(total.peak_rss_mb, s.peak_rss_mb),
            shared_mb=max(total.shared_mb, s.shared_mb),
            classes=s.classes or total.classes,
            forms=tuple(sorted({*total.forms, *s.forms})),
            profile=profile or total.profile,
        )
    return replace(total, workers=tuple(sorted(workers)), loads=tuple(loads))


def _add(left: Sequence[Sequence[int]], right: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(a + b for a, b in zip(x, y, strict=True)) for x, y in zip(left, right, strict=True))
