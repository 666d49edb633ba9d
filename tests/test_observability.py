"""What other systems are told of a run arrives there, by the names and in the form that they know, or is a warning."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from batch_factory import DAY, configure, day_of, lay_out, save_model, suite
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from pyspark.sql import SparkSession
from report_factory import DRIFT, FAILED, a_record

from jobs.logs import JsonFormatter
from pipelines import config_observability, exports, load_config, observability, run_batch
from pipelines.attempt import Attempt
from pipelines.config_observability import Observability
from pipelines.errors import ConfigInvalid, ScorelineError
from pipelines.observability import exporting, openlineage, opentelemetry, prometheus
from pipelines.publish import Slot
from pipelines.records import Observed, RunRecord, StageTime

KEY = "s3cr3t-collector-key"
LINEAGE, TRACES, METRICS = "/api/v1/lineage", "/v1/traces", "/v1/metrics"
STAGES = ["list", "resolve", "start", "read", "plan", "score", "audit", "judge", "publish", "report", "track"]


@dataclass
class Receiver:
    """A collector of traces, metrics and lineage events that keeps what it is sent."""

    url: str = ""
    answer: int = 200
    delay: float = 0.0
    posts: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)

    def bodies(self, path: str) -> list[bytes]:
        return [body for where, _, body in self.posts if where == path]

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies(LINEAGE)]

    def spans(self) -> list[Any]:
        (body,) = self.bodies(TRACES)
        (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
        return [span for scope in resource.scope_spans for span in scope.spans]

    def metrics(self) -> dict[str, Any]:
        (body,) = self.bodies(METRICS)
        (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
        return {m.name: m for scope in resource.scope_metrics for m in scope.metrics}


def _receiver() -> Iterator[Receiver]:
    kept, closing = Receiver(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.posts.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            closing.wait(kept.delay)
            self.send_response(kept.answer)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    yield kept
    closing.set()
    server.shutdown()
    server.server_close()


receiver = pytest.fixture(_receiver)
shared_receiver = pytest.fixture(_receiver, scope="module")


def _everything(home: Path) -> dict[str, Any]:
    return {"prometheus": str(home / "{name}.prom"), "opentelemetry": True, "openlineage": True}


def _addressed(environ: pytest.MonkeyPatch, url: str) -> None:
    environ.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    environ.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={KEY}")
    environ.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    environ.setenv("OPENLINEAGE_URL", url)


@dataclass
class Exported:
    """One real run that was exported to everything."""

    home: Path
    record: RunRecord
    receiver: Receiver
    lines: list[dict[str, Any]]
    descriptions: list[str]


@pytest.fixture(scope="module")
def exported(
    spark: SparkSession, shared_receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    home, log, form = tmp_path_factory.mktemp("exported"), logging.getLogger("scoreline"), JsonFormatter()
    lines: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(form.format(record)))

    keep, level = Keep(), log.level
    not_null = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "b"}}
    beyond = {"type": "expect_column_max_to_be_between", "kwargs": {"column": "b", "max_value": -99},
              "severity": "warning"}  # fmt: skip
    conf = configure(
        home,
        save_model(home / "model"),
        observability=_everything(home),
        tracking_uri="nonsense://x",
        quality={"input": suite(home, "in", not_null, beyond), "max_quarantined": 0.1},
    )
    lay_out(home / "in", day_of(200, missing=3))
    jobs = spark.sparkContext._jsc.sc().statusStore()
    known = jobs.jobsList(None).size()
    log.addHandler(keep)
    log.setLevel(logging.INFO)
    try:
        with pytest.MonkeyPatch.context() as environ:
            _addressed(environ, shared_receiver.url)
            record = run_batch(load_config(conf, run_date=DAY), spark)
            left = {n for n in os.environ if n.startswith("OPENLINEAGE__")}
    finally:
        log.removeHandler(keep)
        log.setLevel(level)
    assert left == set()
    new = jobs.jobsList(None)
    descriptions = [new.apply(i).description().get() for i in range(new.size() - known)]
    return Exported(home, record, shared_receiver, lines, descriptions)


# --- the log and Spark's UI ---


def test_every_line_of_the_log_says_which_run_and_stage_it_is_of(exported: Exported) -> None:
    named = {(line["name"], line["run_date"]) for line in exported.lines}
    assert named == {("toy", DAY)}
    begun = [line["stage"] for line in exported.lines if line["message"] == line.get("stage")]
    assert begun == STAGES
    at = next(i for i, line in enumerate(exported.lines) if line["message"] == "plan")
    assert {line.get("run_id") for line in exported.lines[at:]} == {exported.record.run_id}
    assert "run_id" not in exported.lines[0]


def test_lines_of_a_library_belong_to_the_run_until_another_one_begins() -> None:
    form, context = JsonFormatter(), {"name": "toy", "stage": "read"}

    def line(**extra: Any) -> dict[str, Any]:
        record = logging.LogRecord("lib", logging.WARNING, "f", 1, "said", (), None)
        record.__dict__ |= extra
        return json.loads(form.format(record))

    assert "name" not in line()
    assert line(run=context)["stage"] == "read"
    context["stage"] = "score"
    assert line()["stage"] == "score"
    form.forget()
    assert "name" not in line()


def test_sparks_own_pages_name_the_stage_of_each_job(exported: Exported, spark: SparkSession) -> None:
    assert exported.descriptions
    assert set(exported.descriptions) <= {f"scoreline toy {DAY}: {stage}" for stage in STAGES}
    assert f"scoreline toy {DAY}: score" in exported.descriptions
    assert spark.sparkContext.getLocalProperty("spark.job.description") is None


# --- Prometheus ---


def _samples(path: Path) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(path.read_text()):
        for sample in family.samples:
            labels = tuple(v for k, v in sorted(sample.labels.items()) if k != "pipeline")
            found.setdefault(sample.name, {})[labels] = sample.value
            assert sample.labels["pipeline"] == "toy"
    return found


def test_the_text_file_has_the_figures_of_the_record(exported: Exported) -> None:
    record, found = exported.record, _samples(exported.home / "toy.prom")
    assert {k[0]: n for k, n in found["scoreline_rows"].items()} == record.rows
    assert found["scoreline_quarantined_rows"] == {("required(a)",): 3}
    assert found["scoreline_failed_expectations"] == {("input",): 1}
    assert found["scoreline_run_success"] == {(): 1}
    for name in (
        "num_inferences",
        "failed_batches_counter",
        "model_byte_size",
        "load_model_latency_milli_secs",
    ):
        assert found[f"scoreline_{name}"] == {(): record.spark[name]}, name
    assert found["scoreline_inference_request_batch_size"][("max",)] == 197
    assert found["scoreline_inference_batch_latency_micro_secs"][("mean",)] > 0
    assert (
        found["scoreline_drift_distance"][("a", "js_distance")]
        == record.drift["distances"]["a"]["js_distance"]
    )
    assert set(found["scoreline_run_info"]) == {
        ("model", record.model["version"], DAY, record.run_id, "published")
    }
    assert [f.name for f in exported.home.glob("*.prom*")] == ["toy.prom"]


def test_a_failed_run_keeps_when_the_last_one_published(exported: Exported, spark: SparkSession) -> None:
    conf = configure(
        exported.home, "/nowhere", observability={"prometheus": str(exported.home / "failed.prom")}
    )
    with pytest.raises(ScorelineError):
        run_batch(load_config(conf, run_date=DAY, overrides=[]), spark, force=True)
    before, after = (_samples(exported.home / f"{name}.prom") for name in ("toy", "failed"))
    assert (after["scoreline_run_success"], after["scoreline_run_exit_code"]) == ({(): 0}, {(): 69})
    assert (
        after["scoreline_last_published_timestamp_seconds"]
        == before["scoreline_run_started_timestamp_seconds"]
    )
    assert "scoreline_rows" not in after


def seen(record: RunRecord, **more: Any) -> Observed:
    return Observed(record, "/data/machines", "/out/machine-failure", **more)


def test_what_a_model_raised_is_counted_by_its_class_and_a_rule_by_its_name() -> None:
    record = a_record(quarantined_by={"in: set(x)": 1, "ValueError: row 7": 2, "ValueError: row 8": 3})
    (family,) = [
        m for m in prometheus.registry(seen(record, rules=frozenset({"in: set(x)"}))).collect()
        if m.name == "scoreline_quarantined_rows"
    ]  # fmt: skip
    assert {s.labels["reason"]: s.value for s in family.samples} == {"in: set(x)": 1, "ValueError": 5}


# --- OpenTelemetry ---


def test_the_trace_has_a_span_per_stage_within_that_of_the_run(exported: Exported) -> None:
    *stages, run = exported.receiver.spans()
    assert [span.name for span in stages] == STAGES
    assert run.name == "scoreline toy"
    assert {span.parent_span_id for span in stages} == {run.span_id}
    assert all(run.start_time_unix_nano <= s.start_time_unix_nano <= s.end_time_unix_nano for s in stages)
    assert all(span.end_time_unix_nano <= run.end_time_unix_nano for span in stages)
    said = {a.key: a.value for a in run.attributes}
    assert said["scoreline.run_id"].string_value == exported.record.run_id
    assert said["scoreline.rows.scored"].int_value == 197


def test_the_metrics_are_those_of_the_text_file(exported: Exported) -> None:
    found = exported.receiver.metrics()
    in_file = _samples(exported.home / "toy.prom").keys() - {"scoreline_run_info"}
    assert {name.replace("scoreline.", "scoreline_") for name in found} == in_file
    rows = {
        p.attributes[1].value.string_value: p.as_double for p in found["scoreline.rows"].gauge.data_points
    }
    assert rows == exported.record.rows
    assert found["scoreline.stage_seconds"].unit == "s"


def test_a_collector_is_sent_its_key_and_nobody_else_is(exported: Exported) -> None:
    carried = {path: headers.get("api-key") for path, headers, _ in exported.receiver.posts}
    assert carried == {TRACES: KEY, METRICS: KEY, LINEAGE: None}
    kept = [f for f in (exported.home / "out").rglob("*") if f.is_file()]
    assert [f for f in kept if KEY.encode() in f.read_bytes()] == []


def test_a_failed_run_is_a_failed_span_and_so_is_the_stage_it_failed_in() -> None:
    stages = (StageTime("resolve", 0.0, 0.1), StageTime("start", 0.1, 0.2))
    resolve, start, run = opentelemetry.trace(seen(FAILED.record, stages=stages))
    assert [span.status.is_ok for span in (resolve, start, run)] == [True, False, False]
    assert run.status.description == FAILED.record.error["message"]
    assert run.attributes["error.type"] == FAILED.record.error["class"]


def test_the_trace_of_a_scheduler_goes_on_in_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    (run,) = opentelemetry.trace(seen(a_record()))
    assert (run.context.trace_id, run.parent.span_id) == (
        0x0AF7651916CD43DD8448EB211C80319C,
        0xB7AD6B7169203331,
    )


def test_the_standard_variables_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod")
    (run,) = opentelemetry.trace(seen(a_record()))
    assert run.resource.attributes["service.name"] == "scoreline"
    assert run.resource.attributes["deployment.environment"] == "prod"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "night-batch")
    (run,) = opentelemetry.trace(seen(a_record()))
    assert run.resource.attributes["service.name"] == "night-batch"


@pytest.mark.parametrize(
    ("variables", "paths"),
    [
        ({"OTEL_TRACES_EXPORTER": "none"}, {METRICS}),
        ({"OTEL_METRICS_EXPORTER": "none"}, {TRACES}),
        ({"OTEL_SDK_DISABLED": "true"}, set()),
    ],
)
def test_what_the_standard_variables_switch_off_is_not_sent(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], paths: set[str]
) -> None:
    _addressed(monkeypatch, receiver.url)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    opentelemetry.send(seen(a_record()))
    assert {path for path, _, _ in receiver.posts} == paths


# --- OpenLineage ---


def _facets(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    sets = [event["run"]["facets"], event["job"]["facets"]]
    for dataset in (*event["inputs"], *event["outputs"]):
        sets += [dataset.get(part, {}) for part in ("facets", "inputFacets", "outputFacets")]
    return [facet for found in sets for facet in found.values()]


def _read_back(event: Mapping[str, Any]) -> Any:
    """The event as the client's own classes take it, which its project makes from the published schema: a field that is
    unknown or missing raises at any depth, and so does a value of another type, or a time or an id that is none."""
    from openlineage.client import event_v2, facet_v2

    made = {}
    for module in vars(facet_v2).values():
        for kind in vars(module).values() if hasattr(module, "__file__") else ():
            if hasattr(kind, "_get_schema"):
                made[kind._get_schema()] = kind
    for facet in _facets(event):
        url, _ = facet["_schemaURL"], facet["_producer"]
        _structured(made[url], {k: v for k, v in facet.items() if not k.startswith("_")})
    inputs = [event_v2.InputDataset(**d) for d in event["inputs"]]
    outputs = [event_v2.OutputDataset(**d) for d in event["outputs"]]
    rest = {k: v for k, v in event.items() if k not in ("schemaURL", "eventType", "run", "job")}
    return event_v2.RunEvent(
        **{**rest, "inputs": inputs, "outputs": outputs},
        eventType=event_v2.RunState[event["eventType"]],
        run=event_v2.Run(**event["run"]),
        job=event_v2.Job(**event["job"]),
    )


def _structured(kind: Any, value: Any) -> Any:
    """A JSON value as the type that a class of the client declares.

    Raises:
        TypeError, ValueError: it is not of that type.
    """
    args, origin = typing.get_args(kind), typing.get_origin(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for each in args:
            with contextlib.suppress(TypeError, ValueError):
                return _structured(each, value)
    elif hasattr(kind, "__attrs_attrs__") and isinstance(value, dict):
        hints = typing.get_type_hints(kind)
        if unknown := value.keys() - hints.keys():
            raise TypeError(f"{kind.__name__} has no {sorted(unknown)}")
        return kind(**{k: _structured(hints[k], v) for k, v in value.items()})
    elif origin is list and isinstance(value, list):
        return [_structured(args[0], item) for item in value]
    elif origin is dict and isinstance(value, dict):
        return {_structured(args[0], k): _structured(args[1], v) for k, v in value.items()}
    elif isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    elif isinstance(kind, type) and type(value) in ((int, float) if kind is float else (kind,)):
        return value
    raise TypeError(f"{value!r} is no {kind}")


@pytest.mark.parametrize(
    "change",
    [
        lambda facets: facets["tags"]["tags"][0].update(key=1),
        lambda facets: facets["tags"]["tags"][0].pop("value"),
        lambda facets: facets["tags"]["tags"][0].update(origin="x"),
        lambda facets: facets["nominalTime"].update(nominalStartTime="yesterday"),
        lambda facets: facets["errorMessage"].pop("programmingLanguage"),
        lambda facets: facets["errorMessage"].pop("_producer"),
    ],
)
def test_an_event_that_is_not_of_the_schema_is_found(change: Callable[[Any], Any]) -> None:
    event = json.loads(_serialized(openlineage.end(seen(FAILED.record))))
    _read_back(event)
    change(event["run"]["facets"])
    with pytest.raises((TypeError, ValueError, KeyError)):
        _read_back(event)


def test_a_run_is_told_when_it_begins_and_when_it_has_ended(exported: Exported) -> None:
    begun, ended = exported.receiver.events()
    assert (begun["eventType"], ended["eventType"]) == ("START", "COMPLETE")
    assert begun["run"]["runId"] == ended["run"]["runId"]
    assert begun["job"]["name"] == ended["job"]["name"] == "toy"
    assert begun["eventTime"] < ended["eventTime"]
    order = [path for path, _, _ in exported.receiver.posts]
    assert order == [LINEAGE, TRACES, METRICS, LINEAGE]
    for event in (begun, ended):
        assert event["schemaURL"].endswith("/OpenLineage.json#/$defs/RunEvent")
        _read_back(event)


def test_lineage_says_what_was_read_and_how_good_it_was(exported: Exported) -> None:
    _, ended = exported.receiver.events()
    (source,) = ended["inputs"]
    assert (source["namespace"], source["name"]) == (
        "file",
        f"{exported.home}/in",
    )  # the same one on every date
    types = {f["name"]: f["type"] for f in source["facets"]["schema"]["fields"]}
    assert types == {"id": "bigint", "a": "double", "b": "double"}
    assert source["inputFacets"]["inputStatistics"]["rowCount"] == 200
    metrics = source["inputFacets"]["dataQualityMetrics"]
    assert (metrics["rowCount"], set(metrics["columnMetrics"])) == (197, {"a", "b"})
    of_a = metrics["columnMetrics"]["a"]
    assert of_a["nullCount"] == 0
    assert of_a["min"] < of_a["quantiles"]["0.5"] < of_a["max"]
    asserted = source["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(a["assertion"], a["column"], a["success"], a["severity"]) for a in asserted] == [
        ("expect_column_values_to_not_be_null", "b", True, "error"),
        ("expect_column_max_to_be_between", "b", False, "warn"),
    ]


def test_lineage_says_what_was_written_and_from_which_columns(exported: Exported) -> None:
    _, ended = exported.receiver.events()
    outputs = {o["name"].removeprefix(f"{exported.home}/out/toy/"): o for o in ended["outputs"]}
    assert set(outputs) == {"predictions", "quarantine", "profile_metrics", "drift_metrics"}
    for table, rows in (("predictions", 197), ("quarantine", 3)):
        files = list((exported.home / "out" / "toy" / table).rglob("*.parquet"))
        statistics = outputs[table]["outputFacets"]["outputStatistics"]
        assert statistics["rowCount"] == rows
        assert statistics["size"] == sum(f.stat().st_size for f in files)
    fields = outputs["predictions"]["facets"]["columnLineage"]["fields"]
    assert {n: [i["field"] for i in f["inputFields"]] for n, f in fields.items()} == {
        "id": ["id"],
        "prediction": ["a", "b"],
    }


def test_a_failure_is_told_with_its_message_and_one_that_was_stopped_is_aborted() -> None:
    event = _read_back(json.loads(_serialized(openlineage.end(seen(FAILED.record)))))
    error = FAILED.record.error
    assert event.eventType.name == "FAIL"
    assert event.run.facets["errorMessage"]["message"].startswith(f"{error['class']}: {error['message']}")
    stopped = a_record(status="failed", exit_code=143, error={"class": "Stopped", "message": "m", "hint": ""})
    assert openlineage.end(seen(stopped)).eventType.name == "ABORT"


def test_a_run_knows_the_task_of_the_scheduler_that_it_is_part_of(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = "0190f1ae-3c0b-7c3e-8f00-aaaaaaaaaaaa"
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"airflow/dag.score/{parent}")
    event = json.loads(_serialized(openlineage.start(seen(a_record()))))
    found = event["run"]["facets"]["parent"]
    assert (found["job"]["namespace"], found["job"]["name"]) == ("airflow", "dag.score")
    assert found["run"]["runId"] == parent


def _serialized(event: Any) -> str:
    from openlineage.client.serde import Serde

    return Serde.to_json(event)


def test_extremes_of_a_sensitive_column_are_told_nobody(exported: Exported) -> None:
    config = load_config(
        configure(exported.home, "m", quality={"sensitive": ["a"]}), run_date=DAY
    )  # fmt: skip
    attempt = Attempt(config, lambda: datetime.now(UTC))
    row = {"column_name": "a", "min": 1.0, "max": 2.0, "frequent_items": ["x"], "quantiles": [1.0, 1.5, 2.0]}
    attempt.detail["profile"] = attempt.masking.profiles(pa.Table.from_pylist([row]))
    found = exports._seen(attempt, Slot(exported.home, DAY), attempt.record("failed"))
    assert (found.profile[0]["min"], found.profile[0]["max"]) == (None, None)


# --- what fails ---


def _nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("answer", [None, 403])
def test_what_cannot_be_exported_is_a_warning_and_no_key_is_told(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    tmp_path: Path, answer: int | None,
) -> None:  # fmt: skip
    receiver.answer = answer or 200
    _addressed(monkeypatch, receiver.url if answer else _nobody())
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", os.environ["OPENLINEAGE_URL"])
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__RETRY", '{"total": 0}')
    wanted = Observability(**{**_everything(tmp_path), "prometheus": "/nowhere/x.prom"})
    found = observability.export(wanted, seen(DRIFT.record))
    assert [w.partition(":")[0] for w in found] == [
        f"the run could not be exported to {system}"
        for system in ("Prometheus", "OpenTelemetry", "OpenLineage")
    ]
    assert "/nowhere" in found[0]
    assert KEY not in caplog.text + str(found)
    assert KEY in wanted.secrets
    if answer:
        assert "403" in found[1]


def test_a_system_that_does_not_answer_is_given_up(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.delay = 60
    _addressed(monkeypatch, receiver.url)
    monkeypatch.setattr(exporting, "PATIENCE", 0.3)
    found = observability.begun(Observability(openlineage=True), seen(a_record()))
    assert found == ("the run could not be exported to OpenLineage: no answer within 0.3 s",)


def test_a_published_run_whose_export_fails_is_published_with_a_warning(
    exported: Exported, spark: SparkSession
) -> None:
    conf = configure(
        exported.home, exported.home / "model", observability={"prometheus": "/nowhere/x.prom"},
        sink={"path": str(exported.home / "other")}, quality={"max_quarantined": 0.1}, tracking_uri="nonsense://x",
    )  # fmt: skip
    record = run_batch(load_config(conf, run_date=DAY), spark)
    assert (record.status, record.exit_code) == ("published", 0)
    assert any("could not be exported to Prometheus: FileNotFoundError" in w for w in record.warnings)
    kept = (exported.home / "other" / "toy" / "runs").rglob("*.json")
    assert any("Prometheus" in file.read_text() for file in kept)


def test_nothing_is_exported_where_nothing_is_configured(receiver: Receiver) -> None:
    assert observability.begun(Observability(), seen(a_record())) == ()
    assert observability.export(Observability(), seen(a_record())) == ()
    assert receiver.posts == []


def test_a_run_with_nothing_to_do_has_no_lineage(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    _addressed(monkeypatch, receiver.url)
    record = replace(a_record(), status="already_published")
    assert observability.export(Observability(openlineage=True), seen(record)) == ()
    assert receiver.posts == []


# --- the configuration ---


@pytest.mark.parametrize(
    ("section", "missing", "complaint"),
    [
        ({"prometheus": "/x/y.prom"}, "prometheus_client", r"\[prometheus\].*pip install prometheus-client"),
        ({"opentelemetry": True}, "opentelemetry.exporter.otlp.proto.http", r"pip install opentelemetry-exporter"),
        ({"openlineage": True}, "openlineage.client", r"\[openlineage\].*pip install openlineage-python"),
        ({"prometheus": "/x/y.txt"}, None, r"observability\.prometheus: found '/x/y\.txt'; expected .* \.prom"),
        ({"openlineage": True}, None, r"observability\.openlineage: found True; expected OPENLINEAGE_URL"),
        ({"opentelemetri": True}, None, "did you mean 'opentelemetry'"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_said_before_the_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: dict[str, Any],
    missing: str | None,
    complaint: str,
) -> None:
    here: Callable[[str], bool] = config_observability._found
    monkeypatch.setattr(config_observability, "_found", lambda module: module != missing and here(module))
    for name in [n for n in os.environ if n.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigInvalid, match=complaint):
        load_config(configure(tmp_path, "m", observability=section), run_date=DAY)


def test_a_package_that_is_not_there_is_not_found() -> None:
    assert config_observability._found("prometheus_client")
    assert not config_observability._found("no_such_package.client")


def test_who_watches_decides_nothing_about_the_outputs(tmp_path: Path) -> None:
    plain, watched = (
        load_config(configure(tmp_path, "m", observability=section), run_date=DAY)
        for section in ({}, {"prometheus": "/x/y.prom"})
    )
    assert plain.digest() == watched.digest()


@pytest.mark.parametrize(
    ("path", "dataset"),
    [
        ("/data/x/2026-11-22", "/data/x"),
        ("/data/run_date=2026-11-22/part.parquet", "/data"),
        ("/data/x/*.csv", "/data/x"),
        ("/data/x", "/data/x"),
        ("/2026-11-22", "/"),
        ("s3a://bucket/in/2026-11-22", "s3a://bucket/in"),
    ],
)
def test_an_input_is_the_same_dataset_on_every_date(path: str, dataset: str) -> None:
    assert exports._dataset(path, DAY) == dataset


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/data/x", ("file", "/data/x")),
        ("s3a://bucket/in/x", ("s3://bucket", "in/x")),
        ("abfss://c@account.dfs.core.windows.net/x", ("abfss://c@account.dfs.core.windows.net", "x")),
    ],
)
def test_a_dataset_is_named_as_lineage_names_those_of_its_store(path: str, named: tuple[str, str]) -> None:
    assert openlineage._named(path) == named
