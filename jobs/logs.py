"""What a job says on standard error: text or JSON lines, and no secrets in either."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from pipelines.redaction import redact


class SafeFormatter(logging.Formatter):
    """Masks ``secrets``, which are known only once the configuration is; stack traces are masked as well."""

    def __init__(self, form: str | None = "%(asctime)s %(levelname)s %(message)s") -> None:
        super().__init__(form)
        self.secrets: tuple[str, ...] = ()

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self.secrets)


class JsonFormatter(SafeFormatter):
    """One JSON object per line: ``time`` (UTC), ``level``, ``logger``, ``message`` with any stack trace."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": super().format(record),
        })  # fmt: skip


def log_to_stderr(log_format: str) -> SafeFormatter:
    """Send all logging to standard error as ``text`` or ``json``; the formatter is returned to be told secrets."""
    form = JsonFormatter() if log_format == "json" else SafeFormatter()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("scoreline").setLevel(logging.INFO)
    return form
