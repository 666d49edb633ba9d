"""The command as a scheduler sees it: a process with an exit code and one line on standard output.

Each process that starts a JVM takes many seconds, so all of them are started by one fixture, two at a time,
and the tests look at what they left.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyspark
import pytest
from batch_factory import content, data_files, day_of, lay_out, save_model, settings
from model_factory import Slow, save, signature
from pyspark.sql import SparkSession

from jobs.logs import JsonFormatter, SafeFormatter
from jobs.run_batch import _summary
from pipelines import load_config, run_batch

ROOT = Path(__file__).resolve().parent.parent
CANARY = "c4nary-t0ken-value"
FINE, SHIFTED, DIRTY, MISFIT, STOPPED = (f"2026-11-{n}" for n in range(20, 25))
PLAIN = (sys.executable, "-m", "jobs.run_batch")
SUBMIT = (
    str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
    "--master",
    "local[2]",
    "jobs/run_batch.py",
)


@dataclass
class Ended:
    """A process that has ended."""

    code: int
    out: str
    err: str
    lines: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = [json.loads(line) for line in self.out.splitlines()]

    @property
    def record(self) -> dict[str, Any]:
        assert len(self.lines) == 1, self.out
        return self.lines[0]


@dataclass
class Desk:
    """A folder with inputs, models and one sink, from which jobs are started."""

    home: Path

    @property
    def root(self) -> Path:
        return self.home / "out" / "toy"

    def config(self, name: str = "conf", **more: Any) -> Path:
        path = self.home / f"{name}.json"  # JSON is YAML
        tree = {**settings(self.home, self.home / "toy-model", tracking_uri="nonsense://x"), **more}
        path.write_text(json.dumps(tree))
        return path

    def popen(self, *arguments: str, start: tuple[str, ...] = PLAIN) -> subprocess.Popen[str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("SPARK")}
        env |= {"PYSPARK_PYTHON": sys.executable, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "TOY_TOKEN": CANARY}
        return subprocess.Popen(
            [*start, *arguments], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *arguments: str, start: tuple[str, ...] = PLAIN) -> Ended:
        process = self.popen(*arguments, start=start)
        out, err = process.communicate(timeout=400)
        return Ended(process.returncode, out, err)

    def stop(self, number: int, *arguments: str) -> Ended:
        """Sends a signal while the job scores."""
        process = self.popen(*arguments)
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if line.rstrip().endswith("INFO score"):
                time.sleep(2)
                process.send_signal(number)
                break
        out, err = process.communicate(timeout=400)
        return Ended(process.returncode, out, "".join(seen) + err)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    home = tmp_path_factory.mktemp("desk")
    save_model(home / "toy-model")
    save_model(home / "misfit", inputs=("a", "b", "c"))
    save(Slow(10), home / "slow", signature({"a": "double", "b": "double"}, {"prediction": "double"}))
    for day in (FINE, STOPPED):
        lay_out(home / "in", day_of(100, seed=int(day[-2:])), day)
    lay_out(home / "in", day_of(300, shift=5), SHIFTED)
    lay_out(home / "in", day_of(100, missing=30), DIRTY)
    lay_out(home / "in", day_of(20).assign(c=0.5), MISFIT)
    return Desk(home)


@pytest.fixture(scope="module")
def published(desk: Desk) -> tuple[Ended, dict[str, bytes]]:
    """The first run of all, with a secret in its configuration; and what it has published."""
    source = {**settings(desk.home, "")["source"], "options": {"note": "${TOY_TOKEN}"}}
    conf = desk.config("secret", source=source, tracking_uri="http://me:${TOY_TOKEN}@127.0.0.1:1")
    ended = desk.run("--config", str(conf), "--run-date", FINE, "--log-format", "json")
    return ended, content(desk.root)


Published = tuple[Ended, dict[str, bytes]]


@pytest.fixture(scope="module")
def others(desk: Desk, published: Published) -> dict[str, Ended]:
    """Runs of other dates into the same sink, but for the one that publishes into its own."""
    alert = desk.config("alert", drift={"on_drift": "alert"}, sink={"path": f"{desk.home}/submitted"})
    block = desk.config("block", drift={"on_drift": "block"})
    misfit = desk.config("misfit", model={"uri": str(desk.home / "misfit")})
    slow = desk.config("slow", model={"uri": str(desk.home / "slow"), "allow_pickle": True})
    plain = desk.config()
    with ThreadPoolExecutor(2) as pool:
        started = {
            "alert": pool.submit(desk.run, "--config", str(alert), "--run-date", SHIFTED, start=SUBMIT),
            "block": pool.submit(desk.run, "--config", str(block), "--run-date", SHIFTED),
            "refused": pool.submit(desk.run, "--config", str(plain), "--run-date", DIRTY),
            "misfit": pool.submit(desk.run, "--config", str(misfit), "--run-date", MISFIT),
            "stopped": pool.submit(desk.stop, signal.SIGTERM, "--config", str(slow), "--run-date", STOPPED),
        }
        return {name: future.result() for name, future in started.items()}


# --- runs that publish ---


def test_a_run_that_publishes_exits_0_with_its_record_as_the_only_line(published: Published) -> None:
    ended, files = published
    assert ended.code == 0, ended.err
    record = ended.record
    assert (record["status"], record["exit_code"], record["run_date"], record["error"]) == (
        "published",
        0,
        FINE,
        None,
    )
    assert record["rows"] == {"read": 100, "scored": 100, "quarantined": 0}
    stages = {k: v for k, v in record["seconds"].items() if k != "total"}
    assert {
        "launch",
        "resolve",
        "start",
        "score",
    } <= stages.keys()  # what they leave over is next to nothing:
    assert 0.8 * record["seconds"]["total"] < sum(stages.values()) <= record["seconds"]["total"]
    assert len([f for f in files if f.startswith("predictions/")]) >= 1


def test_a_second_run_of_the_date_does_nothing_and_exits_0(desk: Desk, published: Published) -> None:
    _, files = published
    ended = desk.run("--config", str(desk.config()), "--run-date", FINE)
    assert (ended.code, ended.record["status"]) == (0, "already_published")
    assert "start" not in ended.record["seconds"]  # no Spark
    assert {k: v for k, v in content(desk.root).items() if FINE in k} == {
        k: v for k, v in files.items() if FINE in k
    }


def test_a_secret_is_nowhere_in_what_the_run_wrote_or_said(desk: Desk, published: Published) -> None:
    ended, _ = published
    assert any("could not be logged" in w for w in ended.record["warnings"])  # its URI holds the secret
    assert CANARY not in ended.out + ended.err
    written = [f for f in desk.root.rglob("*") if f.is_file()]
    assert len(written) > 8
    assert [f for f in written if CANARY.encode() in f.read_bytes()] == []


def test_json_logs_are_json_lines(published: Published) -> None:
    ended, _ = published
    ours = [json.loads(line) for line in ended.err.splitlines() if line.startswith("{")]
    assert {"resolve", "start", "read", "plan", "score", "publish"} <= {line["message"] for line in ours}
    assert {(line["name"], line["run_date"]) for line in ours} == {("toy", FINE)}
    scored = [line for line in ours if line.get("stage") == "score"]
    assert {line["run_id"] for line in scored} == {ended.record["run_id"]}
    assert not re.search(r"^\d{4}-\d\d-\d\d \S+ (INFO|WARNING) (resolve|score)", ended.err, re.MULTILINE)


def test_spark_submit_carries_the_alert_code_and_one_line(others: dict[str, Ended]) -> None:
    ended = others["alert"]
    assert ended.code == 10, ended.err
    assert (ended.record["status"], ended.record["exit_code"], ended.record["drift"]["status"]) == (
        "published", 10, "drift")  # fmt: skip


def test_all_doors_give_the_same_predictions(
    desk: Desk,
    published: Published,
    others: dict[str, Ended],
    spark: SparkSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOY_TOKEN", CANARY)
    for name, day, where in (("secret", FINE, "out"), ("alert", SHIFTED, "submitted")):
        config = load_config(
            desk.home / f"{name}.json", run_date=day,
            overrides=[f"sink.path={desk.home}/imported", "tracking_uri=nonsense://x"],
        )  # fmt: skip
        record = run_batch(config, spark)
        there, here = (
            pd.read_parquet(desk.home / sink / "toy" / "predictions" / f"run_date={day}").sort_values("id")
            for sink in (where, "imported")
        )
        assert (published[0] if name == "secret" else others[name]).record["run_id"] == record.run_id
        pd.testing.assert_frame_equal(
            there.reset_index(drop=True), here.reset_index(drop=True), check_exact=True
        )


# --- runs that do not ---


@pytest.mark.parametrize(
    ("name", "code", "status", "error"),
    [
        ("block", 11, "blocked", "DriftBlocked"),
        ("refused", 65, "refused", "DataRefused"),
        ("misfit", 70, "failed", "ModelFailed"),
        ("stopped", 143, "failed", "Stopped"),
    ],
)
def test_a_run_that_does_not_publish_leaves_everything_as_it_was(
    desk: Desk, published: Published, others: dict[str, Ended], name: str, code: int, status: str, error: str
) -> None:
    ended = others[name]
    assert ended.code == code, ended.err
    assert (ended.record["exit_code"], ended.record["status"]) == (code, status)
    assert ended.record["error"]["class"] == error
    assert ended.record["error"]["message"]
    assert ended.record["error"]["hint"]
    assert content(desk.root) == published[1]
    assert list((desk.root / "_work").iterdir()) == []


def test_the_refused_quarantine_is_kept(others: dict[str, Ended]) -> None:
    assert len(pd.read_parquet(others["refused"].record["paths"]["quarantine"])) == 30


def test_a_stopped_run_frees_its_lock(desk: Desk, others: dict[str, Ended]) -> None:
    assert others["stopped"].code == 143
    with (desk.root / "_control" / "locks" / f"run_date={STOPPED}.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_library_that_cannot_be_imported_exits_70_with_a_line(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "pyspark.py").write_text("raise RuntimeError('broken pyspark')")
    start = ("env", f"PYTHONPATH={tmp_path}", *PLAIN)
    ended = desk.run("--config", str(desk.config()), "--run-date", FINE, start=start)
    assert (ended.code, ended.record["status"]) == (70, "failed")
    assert "broken pyspark" in ended.record["error"]["message"]


@pytest.fixture
def busy(desk: Desk) -> Iterator[str]:
    """A date that another run holds."""
    path = desk.root / "_control" / "locks" / "run_date=2026-01-01.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield "2026-01-01"


def test_a_date_that_another_run_holds_exits_75(desk: Desk, busy: str) -> None:
    told(
        desk.run("--config", str(desk.config()), "--run-date", busy),
        75,
        "RunActive",
        "another run for 2026-01-01",
    )


def told(ended: Ended, code: int, error: str, words: str, *, spark: bool = False) -> None:
    """The process ended without Spark, or at least without waiting for it, and said why in its line and in its log."""
    assert ended.code == code, ended.err
    assert (ended.record["exit_code"], ended.record["status"]) == (code, "failed")
    assert ended.record["error"]["class"] == error
    assert re.search(words, ended.record["error"]["message"]), ended.record["error"]["message"]
    assert ended.record["error"]["hint"]
    assert re.search(words, ended.err)
    assert "start" not in ended.record.get("seconds", {})
    assert spark or "Spark" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing option '--config'"),
        (["--config", "c.yaml"], "found neither --run-date nor --from with --to"),
        (["--config", "c.yaml", "--run-date", "2026-11-22", "--to", "2026-11-23"], "found neither"),
        (["--config", "c.yaml", "--run-date", "20261122"], "--run-date: found '20261122'"),
        (["--config", "c.yaml", "--from", "2026-11-23", "--to", "2026-11-22"], "is after"),
        (["--config", "c.yaml", "--frobnicate"], "No such option '?--frobnicate"),
        (["--config", "c.yaml", "--run-date", "2026-11-22", "--log-format", "xml"], "'xml' is not one of"),
    ],
)
def test_a_wrong_call_exits_64(desk: Desk, arguments: list[str], words: str) -> None:
    told(desk.run(*arguments), 64, "UsageWrong", words)


@pytest.mark.parametrize(
    ("settings_", "code", "error", "words"),
    [
        ({"modle": {}}, 78, "ConfigInvalid", "did you mean 'model'"),
        ({"sink": {"path": "s3://bucket/x"}}, 78, "ConfigInvalid", "file after file"),
        ({"model": {"uri": "ftp://x/y"}}, 78, "ConfigInvalid", "model.uri: found 'ftp://x/y'"),
        ({"sink": {"path": "/dev/null/out"}}, 73, "SinkUnwritable", "cannot write"),
        ({"model": {"uri": "/nowhere/model"}}, 69, "ModelUnavailable", "there is no folder"),
        ({"source": {"format": "csv", "path": "/nowhere/{run_date}"}}, 66, "InputUnavailable",
         "nothing to read at '/nowhere/2026-11-20'"),
    ],
)  # fmt: skip
def test_what_cannot_work_ends_before_spark_begins(
    desk: Desk, tmp_path: Path, settings_: dict[str, Any], code: int, error: str, words: str
) -> None:
    conf = desk.config(f"wrong-{code}", **{"sink": {"path": f"{tmp_path}/out"}, **settings_})
    told(desk.run("--config", str(conf), "--run-date", FINE), code, error, words)
    assert data_files(tmp_path / "out" / "toy") == []


def test_a_registry_that_is_down_ends_a_run_for_which_spark_is_starting(desk: Desk, tmp_path: Path) -> None:
    model = {"uri": "models:/toy@champion"}
    conf = desk.config(
        "down", model=model, tracking_uri="http://127.0.0.1:1", sink={"path": f"{tmp_path}/out"}
    )
    ended = desk.run("--config", str(conf), "--run-date", FINE)
    told(ended, 69, "ModelUnavailable", "cannot get 'models:/toy@champion'", spark=True)
    assert data_files(tmp_path / "out" / "toy") == []


def test_a_secret_in_a_wrong_configuration_is_not_repeated(desk: Desk) -> None:
    conf = desk.config("told", model={"uri": "m", "digest": "${TOY_TOKEN}"})
    ended = desk.run("--config", str(conf), "--run-date", FINE)
    assert ended.code == 78
    assert "model.digest" in ended.record["error"]["message"]
    assert CANARY not in ended.out + ended.err


def test_help_exits_0_and_leaves_standard_output_to_records(desk: Desk) -> None:
    ended = desk.run("--help")
    assert (ended.code, ended.out) == (0, "")
    assert "--run-date" in ended.err


@pytest.mark.parametrize(("more", "runs"), [([], 1), (["--keep-going"], 3)])
def test_a_backfill_stops_at_the_first_failure_unless_told_to_go_on(
    desk: Desk, more: list[str], runs: int
) -> None:
    conf = desk.config("nothing", source={"format": "csv", "path": "/nowhere/{run_date}"})
    ended = desk.run("--config", str(conf), "--from", "2026-03-30", "--to", "2026-04-01", "--dry-run", *more)
    assert ended.code == 66
    assert [r["run_date"] for r in ended.record["runs"]] == ["2026-03-30", "2026-03-31", "2026-04-01"][:runs]


# --- the words ---


@pytest.mark.parametrize(
    ("runs", "status", "code"),
    [
        ([("published", 0), ("published", 10)], "published", 10),
        ([("already_published", 0), ("published", 0)], "published", 0),
        ([("dry_run", 0), ("dry_run", 0)], "dry_run", 0),
        ([("published", 0), ("refused", 65)], "failed", 65),
        ([("blocked", 11), ("blocked", 11)], "blocked", 11),
    ],
)
def test_the_line_of_a_range_has_the_worst_code(runs: list[tuple[str, int]], status: str, code: int) -> None:
    summary = _summary([{"name": "toy", "status": s, "exit_code": c} for s, c in runs])
    assert (summary["status"], summary["exit_code"], len(summary["runs"])) == (status, code, len(runs))


@pytest.mark.parametrize("form", [SafeFormatter(), JsonFormatter()])
def test_a_log_line_holds_no_secret_not_even_in_its_stack_trace(form: SafeFormatter) -> None:
    form.secrets = (CANARY,)
    try:
        raise ValueError(f'quoted "{CANARY}"\nand\ttabs')
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed: %s", (CANARY,), sys.exc_info())
    text = form.format(record)
    assert CANARY not in text
    assert "ValueError" in text
    if isinstance(form, JsonFormatter):
        line = json.loads(text)
        assert "\n" not in text
        assert (line["level"], line["logger"], line["message"].splitlines()[0]) == (
            "ERROR",
            "x",
            "failed: ***",
        )
