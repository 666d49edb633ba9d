"""Standard output for the record alone.

Spark's launcher merges the Python process's standard error into its own standard output. The job undoes that:
standard error becomes the launcher's again, so that a scheduler that reads standard output finds one line.
"""

from __future__ import annotations

import os
from typing import TextIO


def claim_stdout() -> TextIO:
    """The real standard output; from now on, whatever a library prints goes to standard error."""
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        _restore_stderr(os.getppid())
    os.dup2(2, 1)
    return line


def _restore_stderr(launcher: int) -> None:
    """Write to the launcher's standard error where the system has a name for it (Linux)."""
    try:
        handle = os.open(f"/proc/{launcher}/fd/2", os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    os.dup2(handle, 2)
    os.close(handle)
