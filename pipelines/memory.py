"""What a run will need of memory, what is there, and a clear refusal before the machine begins to swap.

Figures are in MB (2**20 bytes). An estimate counts what a worker takes for its libraries and batches (which does not
grow with the rows) and the model; the refusal is for runs that clearly do not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigInvalid

MB = 1 << 20
WORKER = 200  # of a Python worker without the model: 180 to 300 were measured
_WRITING = 2  # a model that is shared is there twice while the first worker writes what the others map


@dataclass(frozen=True)
class Place:
    """Where ``workers`` Python workers (None: nobody knows yet) run beside one JVM.

    ``available``: what they and the JVM's further growth may take (None where nobody tells); ``growth``: by how much
    the JVM's heap may still grow; ``limit``: what sets the bound; ``remedy``: how to raise it, or to need less.
    """

    workers: int | None
    available: float | None
    growth: float
    limit: str
    remedy: str


@dataclass(frozen=True)
class Need:
    """``each`` worker takes so much, all of them ``together`` so much more."""

    each: float
    together: float

    def of(self, workers: int) -> float:
        return workers * self.each + self.together


def need(model_bytes: int, shared: bool) -> Need:
    """What workers take, with a model of this size."""
    model = model_bytes / MB
    return Need(WORKER, _WRITING * model) if shared else Need(WORKER + model, 0.0)


def budget(place: Place, wanted: Need) -> dict[str, Any]:
    """The estimate, for the record: plain data."""
    found: dict[str, Any] = {
        "workers": place.workers,
        "worker_mb": round(wanted.each),
        "shared_by_workers_mb": round(wanted.together),
        "jvm_growth_mb": round(place.growth),
        "limit": place.limit,
        "available_mb": None if place.available is None else round(place.available),
    }
    if place.workers is not None:
        found["needed_mb"] = round(wanted.of(place.workers) + place.growth)
    return found


def check(place: Place, wanted: Need) -> str | None:
    """A warning where it fits only if the JVM does not take all that it may.

    Raises:
        ConfigInvalid: the workers do not fit, whatever the JVM takes.
    """
    if place.workers is None or place.available is None:
        return None
    workers = wanted.of(place.workers)
    if workers + place.growth <= place.available:
        return None
    if workers <= place.available:
        return (
            f"memory is scarce: {place.available:,.0f} MB are there ({place.limit}), {place.workers} worker(s) take "
            f"about {workers:,.0f} MB and the JVM may take {place.growth:,.0f} MB more"
        )
    fitting = int((place.available - wanted.together) // wanted.each)
    fewer = f" {fitting} worker(s) would fit." if fitting > 0 else ""
    raise ConfigInvalid(
        f"memory: {place.workers} worker(s) of about {wanted.each:,.0f} MB each"
        + (f" and a model of which they share {wanted.together:,.0f} MB" if wanted.together else "")
        + f" need {workers:,.0f} MB; found {place.available:,.0f} MB ({place.limit}).{fewer}",
        hint=f"{place.remedy}; or, if you know better, set scoring.check_memory: false.",
    )


def available(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> tuple[float | None, str]:
    """What processes can still take here without swapping, and what sets that bound; None where it is unknown."""
    bounds = [(mb, "a control group's limit, as containers have") for mb in _of_groups(proc, groups)]
    with suppress(OSError, IndexError, ValueError):
        text = (proc / "meminfo").read_text("utf-8")
        free = int(text.split("MemAvailable:")[1].split()[0]) / 1024
        bounds.append((free, "what is available on this machine"))
    return min(bounds, default=(None, "unknown"))


def _of_groups(proc: Path, groups: Path) -> Iterator[float]:
    """What each control group of this process, version 1 or 2, leaves of its limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "memory" not in controllers.split(","):
            continue
        top = groups / "memory" if controllers else groups
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        here = top / path.lstrip("/")
        for folder in (here, *here.parents):
            with suppress(OSError, ValueError):  # no such folder in a container, or "max"
                limit, used = (int((folder / n).read_text()) for n in names)
                yield max(0.0, (limit - used + _cached(folder)) / MB)
            if folder == top:
                break


def _cached(folder: Path) -> int:
    """Bytes of files that the system gives up when memory is wanted."""
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def peak(pid: int | str = "self", proc: Path = Path("/proc")) -> float | None:
    """The largest resident memory that a process has had; None where the system does not tell."""
    with suppress(OSError, IndexError, ValueError):
        return round(int((proc / str(pid) / "status").read_text().split("VmHWM:")[1].split()[0]) / 1024, 1)
    return None


Sized = Callable[[str], int]  # from Spark's way of writing a size to MB


def of_executor(conf: Callable[[str], str | None], cores: int | None, sized: Sized) -> Place:
    """Where workers run on a cluster: only what is set explicitly bounds them.

    Args:
        conf: Spark's settings.
        cores: of the largest executor that is there.
        sized: reads a size in Spark's notation, in MB.
    """
    asked = conf("spark.executor.cores")
    cores = int(asked) if asked else cores
    workers = None if cores is None else max(1, cores // int(conf("spark.task.cpus") or 1))
    remedy = "Give executors fewer cores (spark.executor.cores), or raise "
    if own := conf("spark.executor.pyspark.memory"):
        name = "spark.executor.pyspark.memory"
        return Place(workers, float(sized(own)), 0.0, f"{name} of an executor", remedy + name)
    if over := conf("spark.executor.memoryOverhead"):
        name, heap = "spark.executor.memoryOverhead", float(sized(conf("spark.executor.memory") or "1g"))
        limit = f"spark.executor.memory and {name} of an executor"
        return Place(workers, heap + sized(over), heap, limit, remedy + name)
    return Place(workers, None, 0.0, "unknown: spark.executor.memoryOverhead is not set", "")
