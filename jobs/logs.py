"""What a job says on standard error: text or JSON lines, and no secrets in either."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from pipelines.redaction import redact


class SafeFormatter(logging.Formatter):
    """Masks ``secrets``, which are known only once the configuration is; stack traces are masked as well."""

    def __init__(self, form: str | None = "%(asctime)s %(levelname)s %(message)s") -> None:
        super().__init__(form)
        self.secrets: tuple[str, ...] = ()

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self.secrets)

    def forget(self) -> None:
        """A new run begins."""


class JsonFormatter(SafeFormatter):
    """One JSON object per line: ``time`` (UTC), ``level``, ``logger``, ``message`` with any stack trace, and of
    which run it is: ``name``, ``run_date``, ``run_id`` once it is known, and ``stage``.

    A run says so itself with its first line, and keeps up to date what it has said; lines of libraries and of
    other threads then carry the same. A process has one run at a time; :meth:`forget` ends one.
    """

    def __init__(self) -> None:
        super().__init__("%(message)s")
        self._run: Mapping[str, str] = {}

    def forget(self) -> None:
        """A new run begins."""
        self._run = {}

    def format(self, record: logging.LogRecord) -> str:
        self._run = getattr(record, "run", self._run)
        return json.dumps({
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": super().format(record),
            **{key: redact(text, self.secrets) for key, text in self._run.items()},
        })  # fmt: skip


def log_to_stderr(log_format: str) -> SafeFormatter:
    """Send all logging to standard error as ``text`` or ``json``; the formatter is returned to be told secrets."""
    form = JsonFormatter() if log_format == "json" else SafeFormatter()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("scoreline").setLevel(logging.INFO)
    return form
