"""One attempt at a run: collects what becomes its record, whatever the outcome."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.config import Config
from pipelines.errors import ScorelineError, Stopped
from pipelines.masking import Masking
from pipelines.records import RunRecord, StageTime
from pipelines.redaction import redact

log = logging.getLogger("scoreline")


@dataclass
class Attempt:
    """Facts of one attempt as they become known; :meth:`record` freezes them.

    ``facts`` are fields of the record, ``detail`` is what only the page shows; ``task_seconds``: core
    seconds that Spark tasks took, None where Spark does not tell; ``published``: its outputs are visible, whatever
    fails from then on. ``launch``: seconds from the start of the command to here, where it is known.
    ``clock`` gives the wall time of the record's ``started_at``; nothing published depends on it.
    ``stages`` are those that have ended, in order. ``context`` says where the run is now, for the lines of its log:
    name, run_date, run_id (once it is known) and stage. ``entering`` is told of each stage, and of None after it.
    """

    config: Config
    clock: Callable[[], datetime]
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)
    task_seconds: float | None = 0.0
    published: bool = False
    stages: list[StageTime] = field(default_factory=list)
    context: dict[str, str] = field(default_factory=dict)
    entering: Callable[[str | None], None] = lambda _: None
    launch: float | None = None

    def __post_init__(self) -> None:
        self.started_at = self.clock().isoformat(timespec="milliseconds")
        self._start = time.perf_counter() - (self.launch or 0.0)
        if self.launch is not None:
            self.seconds["launch"] = round(self.launch, 3)
        self._cpu = _cpu()
        self.context |= {"name": self.config.name, "run_date": self.config.run_date.isoformat()}
        self.masking = Masking.of(self.config.quality.sensitive, self.config.source.columns)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; its wall seconds are in the record even when it fails."""
        self.context["stage"] = name
        log.info("%s", name, extra={"run": self.context})
        self.entering(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)
            self.stages.append(StageTime(name, start - self._start, spent))
            self.entering(None)
        del self.context["stage"]  # where it failed, what is said of that still belongs to it

    def identify(self, run_id: str) -> None:
        """The run's name is known: from now on it is in the record and in every line of the log."""
        self.facts["run_id"] = self.context["run_id"] = run_id

    def warn(self, text: str) -> None:
        """A warning is logged and stands in the record."""
        text = self.redact(text)
        log.warning(text, extra={"run": self.context})
        self.warnings.append(text)

    def redact(self, text: str) -> str:
        """``text`` without the secrets that came from the environment or stand in URIs."""
        return redact(text, self.config.secrets)

    def record(
        self, status: Any, error: ScorelineError | Stopped | None = None, exit_code: int = 0
    ) -> RunRecord:
        """The record as of now, free of secrets."""
        total = time.perf_counter() - self._start
        read = self.facts.get("rows", {}).get("read") if "score" in self.seconds else None
        facts = {"run_id": "unknown", **{k: self._clean(v) for k, v in self.facts.items()}}
        return RunRecord(
            name=self.config.name,
            run_date=self.config.run_date.isoformat(),
            status=status,
            exit_code=error.exit_code if error else exit_code,
            started_at=self.started_at,
            seconds={**self.seconds, "total": round(total, 3)},
            rows_per_second=round(read / total, 1) if read else None,
            core_seconds=None
            if self.task_seconds is None
            else round(_cpu() - self._cpu + self.task_seconds, 2),
            warnings=tuple(self.warnings),
            error=None if error is None else self._explained(error),
            **facts,
        )

    def _explained(self, error: ScorelineError | Stopped) -> dict[str, str]:
        said = {"class": type(error).__name__, "message": error.message, "hint": error.hint}
        return {k: self.redact(v) for k, v in said.items()}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self._clean(k): self._clean(v) for k, v in value.items()}
        return [self._clean(v) for v in value] if isinstance(value, (list, tuple)) else value


def _cpu() -> float:
    """Processor seconds of this process and of the children it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
