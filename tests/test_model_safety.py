"""The exact model or none: registries that are slow, down or talk nonsense, models that were tampered with,
models that fail on rows or take their worker with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from batch_factory import DAY, day_of, lay_out, save_model, settings
from model_factory import save, signature
from pyspark.sql import SparkSession

from pipelines import batch, registry, run_batch
from pipelines.config import Config, Model
from pipelines.errors import ConfigInvalid, ModelUnavailable
from pipelines.records import ModelColumn
from pipelines.scoring.account import Account, Task
from pipelines.scoring.loaders import LoadedModel, ModelSpec

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests to import
ROOT = Path(__file__).resolve().parent.parent

# --- rows that a model cannot take ---


class Counting:
    """Twice x; raises on a batch that holds one of ``poison``; remembers the size of every call."""

    def __init__(self, poison: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.poison, self.sizes = poison, []

    def predict(self, frame: Any) -> Any:
        self.sizes.append(len(frame))
        if self.poison & set(frame["x"].astype(int)):
            raise ValueError("poison")
        return frame["x"].to_numpy() * 2


def predicted(model: Counting, rows: int, smaller: int = 0) -> tuple[list[Any], list[Any]]:
    """Predictions and errors of the rows 0, 1, 2, …"""
    task = Task(
        ModelSpec("d", "p", "sklearn", "predict"),
        (ModelColumn("x", "double"),),
        (ModelColumn("prediction", "double"),),
        (),
    )
    column = pa.array(np.arange(rows, dtype=float))
    (values,), errors = Account(task, smaller).predict(LoadedModel(model.predict), [column], rows)
    return values.to_pylist(), errors.to_pylist()


@pytest.mark.parametrize("bad", [0, 1, 500, 1023])
def test_one_bad_row_of_1024_costs_20_calls_more_wherever_it_is(bad: int) -> None:
    model = Counting({bad})
    values, errors = predicted(model, 1024)
    assert values == [None if i == bad else 2.0 * i for i in range(1024)]
    assert [i for i, e in enumerate(errors) if e] == [bad]
    assert len(model.sizes) == 1 + 2 * 10


@pytest.mark.parametrize("poison", [{0, 1}, {0, 512}, {3, 99, 400, 401, 1000}])
def test_each_bad_row_costs_at_most_20_calls_more(poison: set[int]) -> None:
    model = Counting(poison)
    _, errors = predicted(model, 1024)
    assert {i for i, e in enumerate(errors) if e} == poison
    assert len(model.sizes) <= 1 + len(poison) * 2 * 10


@pytest.mark.parametrize(("tried", "size"), [(0, 1024), (1, 128), (2, 16), (3, 2), (4, 1), (9, 1)])
def test_a_task_that_is_tried_again_calls_the_model_with_smaller_batches(tried: int, size: int) -> None:
    model = Counting()
    values, _ = predicted(model, 1024, smaller=tried)
    assert set(model.sizes) == {size}
    assert values == [2.0 * i for i in range(1024)]


def test_smaller_batches_are_bisected_as_big_ones_are() -> None:
    model = Counting({700})
    values, errors = predicted(model, 1024, smaller=1)
    assert values == [None if i == 700 else 2.0 * i for i in range(1024)]
    assert len([e for e in errors if e]) == 1
    assert len(model.sizes) == 8 + 2 * 7


class Greedy:
    """a + 2 b, but its process ends at once, as one that the system kills, when a batch has over ``most`` rows."""

    def __init__(self, most: int) -> None:
        self.most = most

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        if len(frame) > self.most:
            os._exit(137)
        return (frame["a"] + 2 * frame["b"]).to_numpy(np.float64)


SCRIPT = """
import json, sys
from pipelines import load_config, run_batch
for path in sys.argv[1:]:
    record = run_batch(load_config(path, run_date="2026-11-22"))
    print(json.dumps([record.spark["engine"], record.status, dict(record.rows)]))
"""


@pytest.mark.faults
def test_a_worker_that_dies_of_big_batches_is_tried_again_with_smaller_ones(tmp_path: Path) -> None:
    """In a session of our own, as on a laptop, with either engine."""
    signed = signature({"a": "double", "b": "double"}, {"prediction": "double"})
    model = {"uri": save(Greedy(300), tmp_path / "m", signed), "allow_pickle": True}
    lay_out(tmp_path / "in", day_of(1000))
    paths = []
    for engine in ("udf", "scan"):
        sections = {"scoring": {"engine": engine}, "drift": {"baseline": "none"}, "model": model}
        tree = {
            **settings(tmp_path, "", tracking_uri="nonsense://x"),
            **sections,
            "sink": {"path": f"{tmp_path}/{engine}"},
        }
        paths.append(tmp_path / f"{engine}.json")
        paths[-1].write_text(json.dumps(tree))  # JSON is YAML
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *paths], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {"read": 1000, "scored": 1000, "quarantined": 0}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        ["udf", "published", rows],
        ["scan", "published", rows],
    ]


# --- registries ---

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """A registry that gives the same answer to everything, and counts how often it was asked."""

    uri: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[ThreadingHTTPServer] = []
    over = threading.Event()

    def start(answer: Answer | None) -> Server:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found.asked.append(self.path)
                if answer is None:  # none, until the test is over
                    over.wait()
                    return
                self.send_response(answer[0])
                for name, value in {"Content-Length": str(len(answer[2])), **answer[1]}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer[2])

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        found = Server(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return found

    yield start
    over.set()
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"MAX_RETRIES": "2", "BACKOFF_FACTOR": "0", "BACKOFF_JITTER": "0", "TIMEOUT": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)


def unavailable(uri: str, server: Server, match: str = "") -> None:
    with pytest.raises(ModelUnavailable, match=f"cannot get .* from the registry: .*{match}") as caught:
        registry.resolve(Model(uri=uri), server.uri)
    assert (caught.value.exit_code, caught.value.retryable) == (69, True)


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_registry_that_stumbles_is_asked_again_but_not_for_ever(serve: Any, code: int) -> None:
    server = serve((code, {}, b"later"))
    unavailable("models:/toy@champion", server)
    assert len(server.asked) == 1 + 2


def test_a_registry_that_does_not_answer_is_given_up(serve: Any) -> None:
    server = serve(None)
    unavailable("models:/toy@champion", server, "ReadTimeoutError")
    assert len(server.asked) == 1 + 2


@pytest.mark.parametrize("uri", ["models:/toy@champion", "models:/toy/1"])
def test_a_registry_that_says_come_back_tomorrow_is_given_up(
    serve: Any, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setattr(registry, "_STALLED", 1.0)
    server = serve((503, {"Retry-After": "86400"}, b""))
    unavailable(uri, server, "no answer within 1 s")


NONSENSE: dict[str, Answer] = {
    "a page": (200, {"Content-Type": "text/html"}, b"<html>Please log in</html>"),
    "nothing": (200, {}, b""),
    "an empty object": (200, {}, b"{}"),
    "a list": (200, {}, b"[1, 2]"),
    "a number for a version": (200, {}, b'{"model_version": 7}'),
    "a version of nothing": (200, {}, b'{"model_version": {}}'),
    "a version that is a path": (200, {}, b'{"model_version": {"name": "toy", "version": "../../../etc"}}'),
    "another model": (200, {}, b'{"model_version": {"name": "x", "version": "1", "source": "file:///etc"}}'),
    "bytes": (200, {}, bytes(range(256))),
    "a loop": (302, {"Location": "/api/2.0/mlflow/registered-models/alias"}, b""),
    "unknown code": (418, {}, b"I'm a teapot"),
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_a_registry_that_talks_nonsense_is_unavailable(serve: Any, answer: Answer) -> None:
    unavailable("models:/toy@champion", serve(answer))


# --- tampering ---


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "toy-model")


GARBAGE = {
    "no text": b"\xff\xfe\x00",
    "flavors are text": b"flavors: skops",
    "a flavor is a list": b"flavors: {sklearn: [1]}",
    "the signature is text": b"flavors: {sklearn: {}}\nsignature: none",
    "deep": b"flavors: " + b"[" * 5000,
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE)
def test_an_mlmodel_file_of_nonsense_is_no_model(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "MLmodel").write_bytes(text)
    with pytest.raises(ModelUnavailable, match="holds no readable MLmodel file"):
        registry.resolve(Model(uri=str(tmp_path)), "nonsense://x")


@pytest.mark.parametrize(
    "specs", ["5", "[1]", '[{"name": "a"}]', '[{"type": "tensor"}]', '[{"type": ["a"]}]']
)
def test_a_signature_of_nonsense_is_told_in_words(tmp_path: Path, specs: str) -> None:
    (tmp_path / "MLmodel").write_text(
        json.dumps({"flavors": {"sklearn": {}}, "signature": {"inputs": specs}})
    )
    with pytest.raises(ConfigInvalid, match=r"the signature of .* cannot be read"):
        registry.resolve(Model(uri=str(tmp_path)), "nonsense://x")


@pytest.mark.parametrize("elsewhere", ["../other.skops", "/etc/passwd", "a/../../b"])
@pytest.mark.parametrize("key", ["pickled_model", "data", "code"])
def test_a_model_whose_files_lie_outside_of_what_its_digest_covers_is_refused(
    linear: Path, tmp_path: Path, key: str, elsewhere: str
) -> None:
    import yaml

    body = yaml.safe_load((linear / "MLmodel").read_text())
    body["flavors"]["sklearn"][key] = elsewhere
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(body))
    with pytest.raises(ConfigInvalid, match=rf"says {key}: '.*outside of the model's folder"):
        registry.resolve(Model(uri=str(tmp_path), allow_pickle=True), "nonsense://x")


@pytest.mark.parametrize("path", ["../../../../etc", "model/../../..", "%2e%2e/%2e%2e"])
def test_the_path_of_a_run_s_model_does_not_lead_out_of_the_run(tmp_path: Path, path: str) -> None:
    import mlflow

    store = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(store)
    run = client.create_run(client.create_experiment("e", artifact_location=f"file://{tmp_path}/artifacts"))
    with pytest.raises(ModelUnavailable, match="cannot get"):
        registry.resolve(Model(uri=f"runs:/{run.info.run_id}/{path}"), store)


# --- the alias, in a real run ---


def test_an_alias_that_moves_during_a_run_changes_nothing_in_it(
    spark: SparkSession, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    store = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(store)
    client.create_registered_model("toy")
    signed = signature({"a": "double", "b": "double"}, {"prediction": "double"})
    other = save(Greedy(0), tmp_path / "other", signed)  # would take its worker with it
    for source in (str(linear), other):
        client.create_model_version("toy", source)
    client.set_registered_model_alias("toy", "champion", "1")
    lay_out(tmp_path / "in", day_of(50))

    def moved(*arguments: Any) -> Any:
        plan = plan_of(*arguments)
        client.set_registered_model_alias("toy", "champion", "2")
        return plan

    plan_of = batch._plan
    monkeypatch.setattr(batch, "_plan", moved)
    tree = settings(tmp_path, "models:/toy@champion", tracking_uri=store)
    tree["source"]["path"] = f"{tmp_path}/in/{DAY}"
    record = run_batch(Config.model_validate({**tree, "run_date": DAY}), spark)
    assert (record.model["version"], record.model["alias"]) == ("1", "champion")
    found = pd.read_parquet(tmp_path / "out" / "toy" / "predictions")
    assert set(found["model_id"]) == {"toy/1"}
    frame = day_of(50)
    assert sorted(found["prediction"]) == sorted(frame["a"] + 2 * frame["b"])
