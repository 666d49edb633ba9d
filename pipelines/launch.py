"""How long a process has been at work before its first line of ours ran."""

from __future__ import annotations

import os
import time
from pathlib import Path

_PROC = Path("/proc")


def seconds_since_launch(environ: dict[str, str] | os._Environ[str] = os.environ) -> float | None:
    """Seconds since the command was started: this process, or the spark-submit that has started it.

    None where the system does not tell (it does on Linux).
    """
    pid = os.getppid() if "PYSPARK_GATEWAY_PORT" in environ else os.getpid()
    try:
        # the name of the program, in brackets, may hold spaces; then fields from the third on
        fields = (_PROC / str(pid) / "stat").read_text("utf-8").rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
