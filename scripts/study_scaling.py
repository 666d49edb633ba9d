"""``make study-scaling``: how a run scales with cores, and what the driver pays for each file, unit and task.

Cores: the audited run on a standalone cluster on the loopback interface, on one and on two workers of one core. The
driver: what it does for each file, unit and task, over folders of 1,000, 10,000 and 100,000 small files and as many
units. From these a model of the time of a run. Writes docs/scaling.md and docs/scaling.json.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipelines import input_files, part_pass, publish
from pipelines.parquet_files import check
from pipelines.records import InputFile
from pipelines.scoring import claims, sums, units
from pipelines.scoring.units import ACCOUNT
from pipelines.scoring.work import ScanTask
from scripts.bench import cold, inputs
from scripts.bench.cases import DAY, Case
from scripts.study_drift import DOCS, page

HOME = Path("build/scaling")
TEMPLATE = Path("scripts/templates/scaling.md.j2")
COUNTS = (1_000, 10_000, 100_000)
CORES = (1, 10, 100, 1_000, 10_000)
_ORIGINALS = 100  # files that are there; the others are links, of which a file may have 65,000
_CPU = "cpu"  # of all steps together
_GROUPS = 4  # groups of units that are really added up
_SMALL = 10_000  # tasks that Spark is given at most: what it takes for one does not grow with them


@click.command()
@click.option("--rows", default=4_000_000, show_default=True, help="Rows that the cluster scores.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--most", default=COUNTS[-1], show_default=True, help="Files and units at most.")
@click.option("--out", default=DOCS, type=click.Path(path_type=Path), show_default=False)
def main(rows: int, rounds: int, most: int, out: Path) -> None:
    """Measure, and write figures and page (about 20 minutes)."""
    HOME.mkdir(parents=True, exist_ok=True)
    case = Case(rows=rows)
    inputs.prepare(case)
    cluster = on_cluster(case, rounds)
    sample = _unit_of_a_run(case)
    driver = [driver_share(n, sample) for n in COUNTS if n <= most]
    scheduling = [_scheduled(n) for n in COUNTS if n <= min(most, _SMALL)]
    figures = {"machine": inputs.machine(case.cores), "rows": rows, "cluster": cluster, "driver": driver,
               "scheduling": scheduling}  # fmt: skip
    out.joinpath("scaling.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    out.joinpath("scaling.md").write_text(page(TEMPLATE, figures | model(figures)), "utf-8")


def on_cluster(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Seconds of the audited run and of its scoring on one and on two cores, in turn."""
    sys.path.insert(0, str(Path("tests").absolute()))
    from cluster import cluster  # type: ignore[import-not-found]

    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with cluster(HOME.absolute()) as place:
        for number in range(rounds):
            for cores, runs in found.items():
                runs.append(_submitted(case, place.url, cores))
                _say(f"round {number + 1}/{rounds}, {cores} core(s): {runs[-1]}")
    keys = found[1][0]
    return [
        {"cores": n} | {k: statistics.median(r[k] for r in runs) for k in keys} for n, runs in found.items()
    ]


def _submitted(case: Case, url: str, cores: int) -> dict[str, float]:
    sink = HOME / "out"
    shutil.rmtree(sink, ignore_errors=True)
    path = HOME / "cluster.yaml"
    asked = inputs.configuration(case) | {"sink": {"path": str(sink.absolute())}}
    path.write_text(yaml.safe_dump(asked), "utf-8")
    conf = {
        "spark.cores.max": str(cores),
        "spark.executor.memory": "512m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.executorEnv.PYSPARK_PYTHON": sys.executable,
    }
    given = ["--config", str(path), "--run-date", DAY]
    out, _ = cold.submit("jobs/run_batch.py", *given, master=url, log=HOME / "submit.log", conf=conf)
    seconds = json.loads(out.strip().splitlines()[-1])["seconds"]
    return {"score": seconds["score"], "total": seconds["total"]}


@dataclass(frozen=True)
class Sample:
    """A real unit: what it was part of, and its account."""

    task: ScanTask
    account: str


def _unit_of_a_run(case: Case) -> Sample:
    """What a unit like it costs to read and to add up."""
    from pipelines.session import session
    from scripts.bench.contenders import scoreline

    kept: list[Sample] = []
    add = sums.added

    def keep(task: ScanTask, accounts: Iterator[dict[str, Any]]) -> sums.Sum:
        kept.append(Sample(task, next(Path(task.folder).glob(f"*/{ACCOUNT}")).read_text()))
        return add(task, accounts)

    sums.added = keep
    try:
        spark = session("scoreline-scaling", {"spark.master": f"local[{case.cores}]"})
        scoreline(case, spark)
    finally:
        sums.added = add
    return kept[0]


def driver_share(count: int, sample: Sample) -> dict[str, Any]:
    """Seconds of the driver for ``count`` files, and for as many units; and of one core of the workers that add up what
    the units have counted, from a few groups of them."""
    _say(f"{count:,} files")
    root = HOME / "files"
    shutil.rmtree(root, ignore_errors=True)
    data = _small_files(root / "in", count)
    seconds: dict[str, float] = {}
    with _timed(seconds, "list"):
        files = input_files.list_files(str(data))
    with _timed(seconds, "footers"):
        footers = check(files)
    with _timed(seconds, "digest"):
        input_files.files_digest(files)
    with _timed(seconds, "cut"):
        planned = units.cut(replace(g, bytes=128 << 20) for g in footers.groups)
        claims.shares(planned, 1000)
        part_pass.cut([InputFile(f.path, 128 << 20, f.mtime_ns) for f in files], 1)
    place = publish.slot(str(root / "out"), "scaling", DAY)
    staging = publish.open_staging(place, "r1")
    committed = Path(str(staging.units))
    _commit(committed, planned, sample.account, Path(files[0].path))
    task = replace(sample.task, folder=str(committed))
    groups = sums.groups([u.id for u in planned])
    few = groups[:_GROUPS]
    before = time.process_time()
    added = [json.dumps(sums.of_units(task, group)) for group in few]
    workers = (time.process_time() - before) * count / sum(map(len, few))
    with _timed(seconds, "accounts"):
        sums.added(task, (json.loads(added[i % len(added)]) for i in range(len(groups))))
    with _timed(seconds, "collect"):
        made = [committed / u.id / "predictions.parquet" for u in planned]
        publish.collect_table(staging, "predictions", made, footers.schema)
    for table in set(publish.TABLES) - {"predictions"}:
        publish.write_table(staging, table, pa.table({"x": [1]}))
    with _timed(seconds, "promote"):
        publish.promote(staging, None, {})
    cpu = round(seconds.pop(_CPU), 3)
    shutil.rmtree(root)
    total = round(sum(seconds.values()), 3)
    found = {"count": count, "seconds": seconds, "total": total, "cpu": cpu, "workers": round(workers, 1)}
    _say(json.dumps(found))
    return found


def _small_files(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    table = pa.table({f"x{i:02d}": [float(i)] * 10 for i in range(20)})
    for number in range(count):
        path = folder / f"part-{number:06d}.parquet"
        if number < _ORIGINALS:
            pq.write_table(table, path)
        else:
            os.link(folder / f"part-{number % _ORIGINALS:06d}.parquet", path)
    return folder


def _commit(root: Path, planned: tuple[units.Unit, ...], account: str, file: Path) -> None:
    """Units as workers leave them, but for the space that they take: their files are links."""
    originals = [root / f".{i}" for i in range(_ORIGINALS)]
    root.mkdir(parents=True)
    for original in originals:
        original.write_text(account)
    for number, unit in enumerate(planned):
        folder = root / unit.id
        folder.mkdir()
        os.link(originals[number % _ORIGINALS], folder / ACCOUNT)
        (folder / units.ROWS).write_text('{"scored": 10, "quarantined": 0}')
        os.link(file.parent / f"part-{number % _ORIGINALS:06d}.parquet", folder / "predictions.parquet")


def _scheduled(count: int) -> dict[str, Any]:
    """Seconds that Spark's scheduler takes for tasks that do nothing, each of which is sent two units."""
    from pyspark.sql import SparkSession

    spark = SparkSession.getActiveSession()
    assert spark is not None  # noqa: S101  # _account_of_a_run has started it
    spark.range(0, 10, 1, 10).write.format("noop").mode("overwrite").save()
    start = time.perf_counter()
    # counted by the JVM: Python workers would take most of the time
    spark.sparkContext.parallelize([pickle.dumps(_pair(n)) for n in range(count)], count)._jrdd.count()
    seconds = time.perf_counter() - start
    _say(f"{count:,} tasks: {seconds:.2f} s")
    return {"count": count, "seconds": round(seconds, 3)}


def _pair(number: int) -> list[units.Unit]:
    piece = units.Piece(f"/data/day/part-{number:06d}.parquet", (0,), 1_000_000, 128 << 20)
    return [units.Unit(f"{number:019d}{i}", (piece,)) for i in range(2)]


def model(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The terms of the model, and what it says of 10 TB in 100,000 files.

    time = fixed + file * files + unit * units + task * tasks + (row * rows + account * units) / cores, where a task
    is two units. What is for each file, unit and task is the driver's, and is not divided by cores.
    """
    one, two = figures["cluster"]
    work = 2 * (one["score"] - two["score"])  # of what the cores share, half has gone
    fixed = one["total"] - work
    most = figures["driver"][-1]
    per_file = sum(most["seconds"][k] for k in ("list", "footers", "digest", "cut")) / most["count"]
    per_unit = sum(most["seconds"][k] for k in ("accounts", "collect", "promote")) / most["count"]
    tasks = figures["scheduling"][-1]
    per_task = tasks["seconds"] / tasks["count"]
    terms = {"fixed": fixed, "per_row": work / figures["rows"], "per_file": per_file, "per_unit": per_unit,
             "per_task": per_task, "per_account": most["workers"] / most["count"]}  # fmt: skip
    rows, files = 60_000_000_000, 100_000
    return {"terms": terms, "example": {"rows": rows, "files": files},
            "predicted": [predicted(terms, rows, files, n) for n in CORES]}  # fmt: skip


def predicted(terms: Mapping[str, float], rows: int, files: int, cores: int) -> dict[str, float]:
    """Seconds of a run whose units are as many as its files; ``share``: of the time in which cores wait."""
    tasks = max(3 * cores, files // 2)
    driver = terms["fixed"] + files * (terms["per_file"] + terms["per_unit"]) + tasks * terms["per_task"]
    total = driver + (rows * terms["per_row"] + files * terms["per_account"]) / cores
    return {"cores": cores, "driver": driver, "total": total, "share": driver / total}


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[name] = round(time.perf_counter() - start, 3)
    seconds[_CPU] = seconds.get(_CPU, 0.0) + time.process_time() - cpu
    _say(f"  {name}: {seconds[name]} s, of which the processor worked {time.process_time() - cpu:.3f} s")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
