"""Before the first line of work: how long ago the command was started, and what it imports, when and from where.

What is changed here is changed for the whole process: it is for commands, not for a notebook that imports the package.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from collections.abc import Collection
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

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


_ARCHIVE = re.compile(r"(?P<home>.+)/python/lib/(?:pyspark|py4j-(?P<py4j>[\d.]+)-src)\.zip")


def import_compiled_spark(path: list[str] = sys.path) -> None:
    """Import PySpark from the package that is installed, not from the archives in it that spark-submit puts first: of
    what comes from an archive Python compiles every module anew, which takes half a second in each process.

    Only where the package that Python would find without the archives is the one they lie in, and for py4j where the
    one beside it has the archive's version. What is left behind stays at the end of ``path``.
    """
    archives = {entry: found for entry in path if (found := _ARCHIVE.fullmatch(entry))}
    others = [entry for entry in path if entry not in archives]
    for entry, found in archives.items():
        home, version = Path(found["home"]), found["py4j"]
        if _finds(others, "pyspark") == home and (version is None or _finds(others, "py4j", version)):
            path.remove(entry)
            path.append(entry)


def _finds(path: Collection[str], package: str, version: str | None = None) -> Path | None:
    """The folder of the package that is found first; None where there is none, or it has another version."""
    file = "__init__.py" if version is None else "version.py"
    # os.path: what cannot be looked at is no file, where Path raises
    found = next((Path(f) for entry in path if os.path.isfile(f := os.path.join(entry, package, file))), None)
    if found is None or (
        version and not re.search(rf"""["']{re.escape(version)}["']""", found.read_text("utf-8"))
    ):
        return None
    return found.parent


# Great Expectations imports them, in 0.7 s, for the chart of one expectation and the p-values of two.
SELDOM_USED = ("altair", "scipy.stats")


def import_when_used(names: Collection[str] = SELDOM_USED) -> None:
    """Have Python execute the modules of these names when something is first asked of them, not when they are imported.

    Those that are missing are missing at once, as ever. A process does so once.
    """
    if not any(isinstance(finder, _Late) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Late(frozenset(names)))


class _Late(MetaPathFinder):
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((s for f in others if (s := f.find_spec(fullname, path, target))), None)
        if spec and spec.loader:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec
