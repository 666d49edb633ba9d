"""Runs into sinks that fill up, refuse to be written or go away: a program for a mount namespace of its own.

``unshare -m python small_sinks.py HOME MODEL``: one JSON line per case on standard output. Every case has a
tmpfs of its own, which ends with the namespace. After the fault it is repaired, and the same run is repeated.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

for folder in (Path(__file__).parent, Path(__file__).parents[1], Path(__file__).parents[2]):
    sys.path.insert(0, str(folder))

from batch_factory import day_of  # noqa: E402 - this is a program, whose folders come first
from places import Place, interposed, leftovers, published  # noqa: E402

from pipelines import outcome, publish  # noqa: E402
from pipelines.errors import ScorelineError  # noqa: E402

ROWS = 60_000


class Disk:
    """A tmpfs below a case's folder, the sink of its runs."""

    def __init__(self, home: Path) -> None:
        self.path = home / "out"
        self.path.mkdir(parents=True)

    def mount(self, options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)], check=True)

    def again(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)

    def freeze(self) -> None:
        """Read-only to whoever opens it from now on; what is open may still be written, as after a disk error."""
        subprocess.run(["mount", "--bind", str(self.path), str(self.path)], check=True)
        self.again("bind,ro")

    def leave(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def fill(self) -> None:
        with (self.path / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 4096):
                pass

    def empty(self) -> None:
        (self.path / "ballast").unlink()


CASES: dict[str, tuple[str, Any, Callable[[Disk], None] | None, Callable[[Disk], None]]] = {
    # name: (mount options, (module, step) after which the fault comes, the fault, the repair)
    "full while Spark writes": ("size=500k", None, None, lambda d: d.again("size=64m")),
    "full from the beginning": ("size=64m", None, Disk.fill, Disk.empty),
    "full when the run commits": ("size=64m", (outcome, "decide"), Disk.fill, Disk.empty),
    "full when all is published": ("size=64m", (publish, "promote"), Disk.fill, Disk.empty),
    "read-only from the beginning": ("size=64m,ro", None, None, lambda d: d.again("rw")),
    "read-only from the scoring on": (
        "size=64m",
        (publish, "open_staging"),
        Disk.freeze,
        Disk.leave,
    ),
    "unmounted before the scoring": ("size=64m", (publish, "open_staging"), Disk.leave, lambda d: d.mount("size=64m")),
    "removed before the scoring": (
        "size=64m",
        (publish, "open_staging"),
        lambda d: shutil.rmtree(d.path / "toy"),
        lambda _: None,
    ),
}  # fmt: skip


def ended(place: Place) -> dict[str, Any]:
    try:
        record = place.run()
    except ScorelineError as error:
        status = error.record.status if error.record else None
        return {"code": error.exit_code, "status": status, "error": str(error), "hint": error.hint}
    return {"code": record.exit_code, "status": record.status, "error": None}


def case(name: str, home: Path, model: str, spark: Any, clean: Any) -> dict[str, Any]:
    options, where, fault, repair = CASES[name]
    place, disk = Place(home, model, spark), Disk(home)
    place.give(day_of(ROWS, missing=5))
    disk.mount(options)
    if where is None and fault is not None:
        fault(disk)
    with interposed(*where, lambda: fault(disk)) if where and fault else nullcontext():
        first = ended(place)
    seen = sorted(str(p.relative_to(place.root)) for p in place.root.glob("predictions/*"))
    repair(disk)
    second = ended(place)
    same = second["code"] == 0 and published(place.root) == clean
    left = leftovers(place.root)
    return {"case": name, "first": first, "seen": seen, "second": second, "same": same, "leftovers": left}


def main(home: Path, model: str) -> None:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pipelines.session import session

    spark = session("small-sinks", {"spark.master": "local[2]", "spark.sql.shuffle.partitions": "2"})
    whole = Place(home / "clean", model, spark)
    whole.give(day_of(ROWS, missing=5))
    whole.run()
    clean = published(whole.root)
    for number, name in enumerate(CASES):
        sys.stdout.write(json.dumps(case(name, home / str(number), model, spark, clean)) + "\n")
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
