"""Alerts reach a real receiver, or the record says why not; nothing of theirs fails a run or tells a secret."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_factory import DRIFT, FAILED, REFUSED, a_record

from pipelines import load_config, notify
from pipelines.errors import ConfigInvalid
from pipelines.records import NotifyOutcome, RetrainEvent, RunRecord

TOKEN = "/services/T0000/B1111/s3cr3tt0k3n"
DRIFTED = DRIFT.record


@dataclass
class Receiver:
    """A web server that keeps what is posted and answers as told; the last answer is given for ever."""

    answers: list[int]
    delay: float = 0.0
    posts: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    servers: list[tuple[ThreadingHTTPServer, threading.Event]] = []

    def start(*answers: int, delay: float = 0.0) -> Receiver:
        kept, closing = Receiver(list(answers or (200,)), delay), threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept.posts.append((self.path, json.loads(body)))
                closing.wait(kept.delay)
                code = kept.answers.pop(0) if len(kept.answers) > 1 else kept.answers[0]
                self.send_response(code)
                self.send_header("Location", "/elsewhere")
                self.send_header("Retry-After", "3600")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append((server, closing))
        kept.url = f"http://127.0.0.1:{server.server_port}{TOKEN}"
        return kept

    yield start
    for server, closing in servers:
        closing.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_PAUSE", 0.01)


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Any]:
    def load(**sections: Any) -> Any:
        known = {
            "name": "toy",
            "model": {"uri": "models:/toy/1"},
            "source": {"format": "csv", "path": "in"},
            "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db",
        }
        path = tmp_path / "conf.yaml"
        path.write_text(yaml.safe_dump({**known, **sections}))
        return load_config(path, run_date="2026-11-22")

    return load


def hook(url: str, **more: Any) -> dict[str, Any]:
    return {"webhook": {"url": url, "timeout_seconds": 5, **more}}


def an_event(**changes: Any) -> RetrainEvent:
    known: dict[str, Any] = {
        "name": "toy",
        "run_date": "2026-11-22",
        "run_id": "r1",
        "model": {"name": "toy", "version": "3"},
        "statistic": "js_distance",
        "threshold": 0.2,
        "at_least": 2,
        "of_last": 3,
        "columns": {"a<b": {"2026-11-22": 0.3}},
        "reason": "js_distance of a<b above 0.2.",
    }
    return RetrainEvent(**{**known, **changes})


RETRAIN = {"statistic": "js_distance", "threshold": 0.2}


def test_a_drift_is_told_in_the_words_of_the_page(receiver: Any, config: Any) -> None:
    got = receiver()
    (outcome,) = notify.send(config(notify=hook(got.url)), DRIFTED)
    ((path, body),) = got.posts
    assert path == TOKEN
    assert body.keys() == {"text"}
    assert "*machine-failure* 2026-11-22: Published, drift in 2 columns: torque, type" in body["text"]
    assert (outcome.channel, outcome.ok, outcome.attempts, outcome.error) == ("webhook", True, 1, None)


@pytest.mark.parametrize(
    ("record", "happened"),
    [
        (a_record(), {"published"}),
        (a_record(drift={"status": "ok", "columns": ["a"]}), {"published", "column_drift"}),
        (DRIFTED, {"published", "drift", "column_drift"}),
        (a_record(status="blocked", drift={"status": "drift"}), {"blocked", "drift"}),
        (REFUSED.record, {"refused"}),
        (FAILED.record, {"failed"}),
        (a_record(status="already_published", drift={"status": "drift", "columns": ["a"]}), set()),
        (a_record(status="dry_run"), set()),
    ],
)
def test_what_happened_is_known_and_only_what_was_asked_for_is_told(
    receiver: Any, config: Any, record: RunRecord, happened: set[str]
) -> None:
    assert notify.happenings(record) == happened
    got = receiver()
    for wish in ("published", "drift", "column_drift", "refused", "blocked", "failed"):
        notify.send(config(notify={**hook(got.url), "events": [wish]}), record)
    assert len(got.posts) == len(happened)


def test_a_failure_is_told_with_what_to_do(receiver: Any, config: Any) -> None:
    got = receiver()
    notify.send(config(notify=hook(got.url)), FAILED.record)
    assert "Failed: No registry at sqlite:///x.db" in got.posts[0][1]["text"]
    assert "Start it." in got.posts[0][1]["text"]


def test_names_in_the_data_address_nobody(receiver: Any, config: Any) -> None:
    got = receiver()
    record = a_record(drift={"status": "drift", "columns": ["<!channel>", "<https://evil.example|click>"]})
    notify.send(config(notify=hook(got.url)), record)
    text = got.posts[0][1]["text"]
    assert "&lt;!channel&gt;" in text
    assert "<" not in text


@pytest.mark.parametrize(
    ("answers", "attempts", "error"),
    [
        ((204,), 1, None),
        ((500, 200), 2, None),
        ((429, 503, 200), 3, None),
        ((500,), 4, "the answer was 500"),
        ((404,), 1, "the answer was 404"),
        ((302,), 1, "the answer was 302"),
    ],
)
def test_a_receiver_that_stumbles_is_asked_again_and_one_that_refuses_is_not(
    receiver: Any, config: Any, answers: tuple[int, ...], attempts: int, error: str | None
) -> None:
    got = receiver(*answers)
    (outcome,) = notify.send(config(notify=hook(got.url)), DRIFTED)
    assert (outcome.attempts, outcome.error) == (attempts, error)
    assert len(got.posts) == attempts
    assert {path for path, _ in got.posts} == {TOKEN}


def test_a_slow_receiver_is_given_up(receiver: Any, config: Any) -> None:
    got = receiver(200, delay=30)
    (outcome,) = notify.send(config(notify=hook(got.url, timeout_seconds=0.2, retries=1)), DRIFTED)
    assert (outcome.ok, outcome.attempts, outcome.error) == (False, 2, "no answer within 0.2 s")


@pytest.fixture
def dripping() -> Iterator[str]:
    """A receiver that sends one byte of a header that never ends, again and again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not stop.wait(0.05):
                    connection.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}{TOKEN}"
        stop.set()


def test_a_receiver_that_never_ends_its_answer_is_given_up(dripping: str, config: Any) -> None:
    (outcome,) = notify.send(config(notify=hook(dripping, timeout_seconds=0.3, retries=0)), DRIFTED)
    assert (outcome.ok, outcome.error) == (False, "no answer within 0.3 s")


def nobody() -> str:
    """The address of a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}{TOKEN}"


@pytest.mark.parametrize(
    ("url", "error"),
    [(nobody(), "NewConnectionError"), (f"http://no-such-host.invalid{TOKEN}", "NameResolutionError")],
)
def test_where_nobody_listens_the_record_says_so(config: Any, url: str, error: str) -> None:
    (outcome,) = notify.send(config(notify=hook(url, retries=1)), DRIFTED)
    assert (outcome.ok, outcome.attempts, outcome.error) == (False, 2, error)


@pytest.mark.parametrize("answers", [(200,), (500,), (404,), None], ids=str)
def test_the_address_of_a_webhook_is_told_nobody(
    receiver: Any, config: Any, caplog: pytest.LogCaptureFixture, answers: tuple[int, ...] | None
) -> None:
    caplog.set_level(logging.DEBUG)
    url = receiver(*answers).url if answers else nobody()
    checked = config(notify=hook(url, retries=1))
    (outcome,) = notify.send(checked, DRIFTED)
    assert outcome.target == url.removesuffix(TOKEN)
    assert "s3cr3t" not in caplog.text + repr(outcome) + repr(checked) + checked.model_dump_json()
    assert {url, TOKEN} <= set(checked.secrets)


@pytest.mark.parametrize(
    "section",
    [
        {"notify": {"webhook": {"url": "hooks.example/s3cr3t"}}},
        {"notify": {"webhook": "https://hooks.example/s3cr3t"}},
        {"notify": {"webhook": {"url": "https://hooks.example/s3cr3t", "timeout_seconds": 900}}},
        {"retrain": {**RETRAIN, "webhook": {"url": "ftp://hooks.example/s3cr3t"}}},
        {"retrain": {**RETRAIN, "webhook": {"adress": "https://hooks.example/s3cr3t"}}},
    ],
    ids=str,
)
def test_a_mistake_beside_the_address_does_not_tell_it(config: Any, section: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid, match="webhook") as caught:
        config(**section)
    assert "s3cr3t" not in str(caught.value)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_command_reads_the_record(config: Any, tmp_path: Path) -> None:
    copy = f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(sys.stdin.read())"
    (outcome,) = notify.send(config(notify={"command": {"run": python(copy)}}), DRIFTED)
    assert (outcome.ok, outcome.target) == (True, sys.executable)
    assert RunRecord.from_dict(json.loads((tmp_path / "got").read_text())) == DRIFTED


@pytest.mark.parametrize(
    ("run", "error"),
    [
        (python("raise SystemExit(3)"), "it ended with status 3"),
        (python("import time; time.sleep(60)"), "not done within 0.5 s"),
        (python("import subprocess; subprocess.run(['sleep', '60'])"), "not done within 0.5 s"),
        (["no-such-command"], "FileNotFoundError"),
    ],
    ids=["status", "slow", "slow child", "missing"],
)
def test_a_command_that_fails_is_recorded(config: Any, run: list[str], error: str) -> None:
    timeout = 0.5 if "within" in error else 30
    wish = {"notify": {"command": {"run": run, "timeout_seconds": timeout}}}
    (outcome,) = notify.send(config(**wish), DRIFTED)
    assert (outcome.ok, outcome.error) == (False, error)


def test_a_command_prints_nothing_into_the_record_line(
    config: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    notify.send(config(notify={"command": {"run": python("print('noise')")}}), DRIFTED)
    assert capfd.readouterr().out == ""


def test_what_a_failing_command_says_is_logged_without_passwords(
    config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cry = "raise SystemExit('cannot reach https://user:pass@host/x')"
    notify.send(config(notify={"command": {"run": python(cry)}}), DRIFTED)
    assert "cannot reach https://***@host/x" in caplog.text


def test_one_channel_that_fails_does_not_silence_the_next(config: Any, tmp_path: Path) -> None:
    touch = python(f"open({str(tmp_path / 'told')!r}, 'w')")
    both = {**hook(nobody(), retries=0), "command": {"run": touch}}
    first, second = notify.send(config(notify=both), DRIFTED)
    assert (first.ok, second.ok) == (False, True)
    assert (tmp_path / "told").is_file()


def test_the_model_version_carries_the_verdict_of_its_last_run(config: Any) -> None:
    from mlflow import MlflowClient

    checked = config(notify={"tag": True})
    client = MlflowClient(checked.tracking)
    client.create_registered_model("machine-failure")
    client.create_model_version("machine-failure", source="somewhere")
    record = a_record(model={"name": "machine-failure", "version": "1"})
    (outcome,) = notify.send(checked, record)
    tags = client.get_model_version("machine-failure", "1").tags
    assert outcome == NotifyOutcome("tag", "models:/machine-failure/1", ok=True, seconds=outcome.seconds)
    assert tags == {"scoreline.verdict": "2026-11-22: Published, no drift"}
    (outcome,) = notify.send(checked, a_record(model={"name": "not registered", "version": "1"}))
    assert (outcome.ok, outcome.error) == (False, "MlflowException")


def test_without_channels_nobody_is_told(config: Any) -> None:
    assert notify.send(config(), DRIFTED) == ()
    assert notify.emit(config(), an_event()) == ()


def test_a_wish_to_train_again_reaches_every_channel_as_data(
    receiver: Any, config: Any, tmp_path: Path
) -> None:
    got = receiver()
    copy = f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(sys.stdin.read())"
    wish = {**RETRAIN, **hook(got.url), "command": {"run": python(copy)}, "folder": str(tmp_path / "events")}
    outcomes = notify.emit(config(retrain=wish), an_event())
    assert [(o.channel, o.ok) for o in outcomes] == [("webhook", True), ("command", True), ("folder", True)]
    body = got.posts[0][1]
    text = body.pop("text")
    file = json.loads((tmp_path / "events" / "toy-2026-11-22-r1.json").read_text())
    assert body == json.loads((tmp_path / "got").read_text()) == file == an_event().to_dict()
    assert text == "*toy* asks to be trained again: js_distance of a&lt;b above 0.2."


def test_a_folder_that_cannot_be_written_is_recorded(config: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wish = {**RETRAIN, "folder": str(tmp_path / "file")}
    (outcome,) = notify.emit(config(retrain=wish), an_event())
    assert (outcome.channel, outcome.ok, outcome.error) == ("folder", False, "FileExistsError")


def test_who_is_told_decides_nothing_about_the_outputs(config: Any) -> None:
    told = config(notify=hook("https://hooks.example/abc"), retrain=RETRAIN, quality={"sensitive": ["a"]})
    assert told.digest() == config().digest()


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"notify": {"event": ["drift"]}}, "notify.event: unknown key; did you mean 'events'"),
        ({"notify": {"webhook": {"ur": "x"}}}, "notify.webhook.ur: unknown key; did you mean 'url'"),
        ({"notify": {"events": ["boom"]}}, r"notify.events\[0\]: found 'boom'"),
        ({"notify": {"command": {"run": []}}}, "notify.command.run: found"),
        ({"retrain": {"statistic": "js", "threshold": 0.1}}, "retrain.statistic: found 'js'"),
        ({"retrain": {**RETRAIN, "at_least": 3, "of_last": 2}}, "at_least is 3 of of_last 2"),
    ],
)
def test_a_mistake_in_these_sections_is_named(config: Any, section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigInvalid, match=complaint):
        config(**section)
