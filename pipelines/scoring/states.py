"""The account of a task, on its way from the worker to the driver."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipelines.profiles import TableProfile


@dataclass(frozen=True)
class WorkerState:
    """The account of one task, or of several (see :func:`merge_states`).

    ``counts[j][i]``: rows in which bit i of mask j is set. Seconds are wall seconds inside the worker.
    ``forms``: the verdicts on faster forms of the model, as JSON; one where all workers agree.
    """

    rows: int = 0
    predicted: int = 0
    failed: int = 0
    batches: int = 0
    calls: int = 0
    counts: tuple[tuple[int, ...], ...] = ()
    loads: tuple[tuple[str, float], ...] = ()
    workers: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    predict_seconds: float = 0.0
    peak_rss_mb: float = 0.0
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
        tuples = {k: tuple(body[k]) for k in ("workers", "classes", "forms")}
        tuples["counts"] = tuple(tuple(c) for c in body["counts"])
        tuples["loads"] = tuple((w, s) for w, s in body["loads"])
        state = TableProfile.from_bytes(base64.b64decode(profile)) if profile else None
        return cls(**{**body, **tuples, "profile": state})


def merge_states(states: Iterable[WorkerState]) -> WorkerState:
    """One account of all tasks: sums, except for the largest memory and the distinct workers."""
    total = WorkerState()
    for s in states:
        counts = _add(total.counts, s.counts) if total.counts and s.counts else total.counts or s.counts
        profile = s.profile if total.profile is None or s.profile is None else total.profile.merge(s.profile)
        total = WorkerState(
            rows=total.rows + s.rows,
            predicted=total.predicted + s.predicted,
            failed=total.failed + s.failed,
            batches=total.batches + s.batches,
            calls=total.calls + s.calls,
            counts=counts,
            loads=total.loads + s.loads,
            workers=tuple(sorted({*total.workers, *s.workers})),
            cpu_seconds=total.cpu_seconds + s.cpu_seconds,
            predict_seconds=total.predict_seconds + s.predict_seconds,
            peak_rss_mb=max(total.peak_rss_mb, s.peak_rss_mb),
            classes=s.classes or total.classes,
            forms=tuple(sorted({*total.forms, *s.forms})),
            profile=profile or total.profile,
        )
    return total


def _add(left: Sequence[Sequence[int]], right: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(a + b for a, b in zip(x, y, strict=True)) for x, y in zip(left, right, strict=True))
