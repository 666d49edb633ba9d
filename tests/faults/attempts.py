"""Runs that can be killed by the hundred: a process that has imported everything forks one child per attempt.

A child connects to a JVM that is up already, as a notebook's kernel does, and runs the real job: it takes two
seconds, not thirty. Killing it is a real SIGKILL of a real driver, and a hard one: the JVM goes on with the job
of the dead while the next attempt starts.

``python attempts.py PORT SECRET``: each line on standard input is an attempt (a JSON object), each line on
standard output its end. ``python attempts.py read FOLDER STOP``: a reader that polls a table until STOP exists.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any


def serve(port: str, secret: str) -> None:
    """Fork a child for each line of standard input."""
    os.environ |= {"PYSPARK_GATEWAY_PORT": port, "PYSPARK_GATEWAY_SECRET": secret}
    import great_expectations
    import mlflow.sklearn

    import pipelines.batch

    assert great_expectations
    assert mlflow.sklearn
    assert pipelines.batch
    _say({"ready": True})
    for line in sys.stdin:
        _say(_attempt(json.loads(line)))


def _say(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def _attempt(order: dict[str, Any]) -> dict[str, Any]:
    """How a child ended: its exit code (-9: killed), the last stage it entered, its record if it has one."""
    trail = Path(order["trail"])
    trail.write_text("")
    start = time.monotonic()
    child = os.fork()
    if not child:
        _child(order, trail)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = (
        trail.read_text().rpartition("\n")[0].splitlines()
    )  # the last one may be cut by the death of its writer
    stages = [line.removeprefix("stage ") for line in lines if line.startswith("stage ")]
    records = [json.loads(line.removeprefix("record ")) for line in lines if line.startswith("record ")]
    steps = [int(line.removeprefix("steps ")) for line in lines if line.startswith("steps ")]
    return {
        "code": code,
        "steps": steps[-1] if steps else None,
        "stage": stages[-1] if stages else "start of the process",
        "record": records[-1] if records else None,
        "seconds": round(time.monotonic() - start, 3),
    }


def _child(order: dict[str, Any], trail: Path) -> None:
    """Never returns. The parent's standard streams are not the child's."""
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1):
            os.dup2(null, number)
        code = _run(order, trail)
    except BaseException as error:
        _note(trail, f"error {type(error).__name__}: {error}")
    finally:
        os._exit(code)


def _note(trail: Path, text: str) -> None:
    with trail.open("a") as file:
        file.write(text.replace("\n", " ") + "\n")


def _run(order: dict[str, Any], trail: Path) -> int:
    import logging

    from pipelines import run_batch
    from pipelines.config import Config
    from pipelines.errors import ScorelineError

    class Stages(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "scoreline" and record.msg == "%s":
                _Steps.stage = record.getMessage()
                _note(trail, f"stage {_Steps.stage}")

    logging.getLogger("scoreline").addHandler(Stages())
    logging.getLogger("scoreline").setLevel(logging.INFO)
    _arm(order, trail)
    try:
        config = Config.model_validate(order["config"])
        record = run_batch(config, _attach(), force=order["force"])
    except ScorelineError as error:
        _note(
            trail, "record " + json.dumps(error.record.to_dict() if error.record else {"error": str(error)})
        )
        return error.exit_code
    _note(trail, f"steps {_Steps.made}")
    _note(trail, "record " + json.dumps(record.to_dict()))
    return record.exit_code


def _arm(order: dict[str, Any], trail: Path) -> None:
    """The child's death: after so many seconds, or before so many changes of the file system."""
    if order.get("after_seconds") is not None:
        threading.Timer(order["after_seconds"], os.kill, (os.getpid(), signal.SIGKILL)).start()
    if order.get("before_step") is not None:
        _die_before(order["before_step"], trail)
    if order.get("pause"):
        _pause(trail)


class _Steps:
    """How many changes of the file system this child has made, and in which stage it is."""

    made, stage = 0, ""


def _pause(trail: Path) -> None:
    """SIGSTOP once the run holds its date and has a staging folder."""
    from pipelines import publish

    real = publish.open_staging

    def paused(*args: Any) -> Any:
        staging = real(*args)
        _note(trail, f"paused {os.getpid()}")
        os.kill(os.getpid(), signal.SIGSTOP)
        return staging

    publish.open_staging = paused


def _die_before(step: int, trail: Path) -> None:
    """SIGKILL before the ``step``-th change that this process makes in the sink once it has a staging folder."""
    from pipelines import publish
    from pipelines.publish import exchange

    def ticking(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            _Steps.made += 1
            if _Steps.made == step:
                _note(trail, f"stage {_Steps.stage}, before {name}")
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    def armed(*args: Any) -> Any:
        staging = real_open(*args)
        for name in ("link", "rename", "replace", "mkdir", "fsync"):
            setattr(os, name, ticking(name, getattr(os, name)))
        exchange._exchange = ticking("exchange", exchange._exchange)
        shutil.rmtree = ticking("rmtree", shutil.rmtree)  # type: ignore[assignment]
        return staging

    real_open, publish.open_staging = publish.open_staging, armed


def _attach() -> Any:
    """A session of the JVM at PYSPARK_GATEWAY_PORT that shares its SparkContext."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    gateway = launch_gateway()
    jvm: Any = gateway.jvm
    scala = jvm.org.apache.spark.SparkContext.getOrCreate()
    java = jvm.org.apache.spark.api.java.JavaSparkContext.fromSparkContext(scala)
    conf = SparkConf(_jvm=jvm, _jconf=java.getConf())
    return SparkSession(SparkContext(gateway=gateway, jsc=java, conf=conf))


def read(folder: Path, stop: Path) -> None:
    """Poll a table with pyarrow and print what was seen: for each date how often it was seen with which rows.

    A file that goes away between listing and opening, as happens where a date is superseded, is a loud error:
    the reader asks again, and counts it. What it must never see is in the sight itself.
    """
    import pyarrow.parquet as pq

    sights: Counter[tuple[str, int, int, int, int]] = Counter()
    polls, again, seen, lost = 0, 0, set[str](), set[str]()
    while True:
        last = stop.exists()  # one more complete look after the end
        try:
            if not any(folder.iterdir()):  # about to receive its first date
                raise FileNotFoundError(folder)
            table = pq.read_table(folder, columns=["id", "prediction", "run_date", "run_id"])
        except (FileNotFoundError, OSError) as error:
            if polls:
                again += 1
                sys.stderr.write(f"again: {error}\n")
            time.sleep(0.02)
            continue
        polls += 1
        if table.num_rows:
            dates = sights_of(table)
            sights.update(dates)
            time.sleep(0.02)  # the runs need the cores too
            now = {d[0] for d in dates}
            lost |= seen - now
            seen |= now
        if last:
            break
    rows = [[*sight, times] for sight, times in sorted(sights.items())]
    _say({"polls": polls, "again": again, "lost": sorted(lost), "sights": rows})


def sights_of(table: Any) -> list[tuple[str, int, int, int, int]]:
    """For each date: its runs, rows, distinct keys, and a checksum of keys and predictions."""
    frame = table.to_pandas() if hasattr(table, "to_pandas") else table
    result = []
    for day, part in frame.groupby("run_date", observed=True):
        ordered = part.sort_values("id")
        checksum = hash((tuple(ordered["id"]), tuple(ordered["prediction"])))
        result.append((str(day), part["run_id"].nunique(), len(part), part["id"].nunique(), checksum))
    return result


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    if sys.argv[1] == "read":
        read(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        serve(sys.argv[1], sys.argv[2])
