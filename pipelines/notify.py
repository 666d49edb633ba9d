"""Tells people and programs what a run found. An alert that fails fails nothing else: it is recorded.

Nothing raised by a channel leaves this module, and nothing that it says holds the address of a webhook: its
path is a password in all but name.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines import storage
from pipelines.config import Config
from pipelines.config_alerts import Command, Webhook
from pipelines.records import NotifyOutcome, RetrainEvent, RunRecord
from pipelines.redaction import redact
from pipelines.report.words import headline, summary

log = logging.getLogger("scoreline")
AGAIN = (429, 500, 502, 503, 504)  # answers after which another attempt is worth it
TAG = "scoreline.verdict"
_PAUSE = 0.5  # urllib3's factor: the first retry comes at once, the next ones after 1 s, 2 s, 4 s, ...
_LONGEST = 3000  # characters of a message
Send = Callable[[], tuple[int, str | None]]  # how many attempts, and what went wrong


def send(config: Config, record: RunRecord) -> tuple[NotifyOutcome, ...]:
    """Tell what ``notify`` asks for about a finished run; the outcomes are for the run's record.

    Takes at most (retries + 1) * timeout and the pauses between attempts; channels are used one after another.
    """
    notify = config.notify
    outcomes = []
    if happenings(record) & set(notify.events):
        outcomes = _channels(notify.webhook, notify.command, {"text": message(record)}, record.to_dict())
    if notify.tag and record.status in ("published", "blocked", "refused"):
        outcomes.append(_tag(config, record))
    return tuple(outcomes)


def emit(config: Config, event: RetrainEvent) -> tuple[NotifyOutcome, ...]:
    """Hand an event on through the channels of ``retrain``; the outcomes are for the run's record."""
    retrain = config.retrain
    if retrain is None:
        return ()
    body = event.to_dict()
    text = f"*{escaped(event.name)}* asks to be trained again: {escaped(event.reason)}"
    outcomes = _channels(retrain.webhook, retrain.command, {"text": text[:_LONGEST], **body}, body)
    if retrain.folder:
        path = Path(retrain.folder) / f"{event.name}-{event.run_date}-{event.run_id}.json"
        outcomes.append(_tried("folder", str(path), lambda: _put(path, body)))
    return tuple(outcomes)


def happenings(record: RunRecord) -> set[str]:
    """What a run can be told about for, in the words of ``notify.events``; nothing where nothing was done."""
    if record.status in ("already_published", "dry_run"):
        return set()
    found: set[str] = {record.status}
    if record.drift.get("status") == "drift":
        found.add("drift")
    return found | ({"column_drift"} if record.drift.get("columns") else set())


def message(record: RunRecord) -> str:
    """The run in three lines of Slack's markup; names out of the data cannot address anyone."""
    page = record.paths.get("report")
    lines = [
        f"*{escaped(record.name)}* {escaped(record.run_date)}: {escaped(headline(record))}",
        escaped(summary(record)),
        *([escaped(record.error["hint"])] if record.error and record.error.get("hint") else []),
        *([f"Page: {escaped(page)}"] if page else []),
    ]
    return "\n".join(lines)[:_LONGEST]


def escaped(text: str) -> str:
    """``text`` with Slack's three control characters as it wants them; ``<!channel>`` is then only text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _channels(
    webhook: Webhook | None, command: Command | None, post: Mapping[str, Any], whole: Mapping[str, Any]
) -> list[NotifyOutcome]:
    outcomes = []
    if webhook:
        outcomes.append(_tried("webhook", _host(webhook), lambda: _post(webhook, post)))
    if command:
        outcomes.append(_tried("command", command.run[0], lambda: _run(command, whole)))
    return outcomes


def _tried(channel: str, target: str, act: Send) -> NotifyOutcome:
    start = time.perf_counter()
    try:
        attempts, error = act()
    except Exception as problem:  # requests', MLflow's and the system's; their texts hold addresses
        attempts, error = 1, type(problem).__name__
    seconds = round(time.perf_counter() - start, 3)
    outcome = NotifyOutcome(channel, target, error is None, attempts, seconds, error)
    if error:
        log.warning("%s %s could not be told: %s", channel, target, error)
    return outcome


def _host(webhook: Webhook) -> str:
    """Scheme, host and port; what follows is secret."""
    address = urlsplit(webhook.url.get_secret_value())
    port = f":{address.port}" if address.port else ""
    return f"{address.scheme}://{address.hostname}{port}"


def _post(webhook: Webhook, body: Mapping[str, Any]) -> tuple[int, str | None]:
    """POST in a thread of its own: a receiver that sends a byte now and then is no reason to wait for ever."""
    answer: list[tuple[int, str | None]] = []
    attempts = webhook.retries + 1
    pauses = sum(_PAUSE * 2**n for n in range(1, attempts))
    thread = threading.Thread(target=lambda: answer.append(_posted(webhook, body)), daemon=True)
    thread.start()
    thread.join(attempts * webhook.timeout_seconds + pauses)
    return answer[0] if answer else (attempts, f"no answer within {webhook.timeout_seconds:g} s")


def _posted(webhook: Webhook, body: Mapping[str, Any]) -> tuple[int, str | None]:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    # A POST is repeated after an answer that was lost: being told twice is better than not at all.
    retries = Retry(
        total=webhook.retries, status_forcelist=AGAIN, allowed_methods=None, backoff_factor=_PAUSE,
        respect_retry_after_header=False, raise_on_status=False,
    )  # fmt: skip
    with requests.Session() as session, _silent():
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(max_retries=retries))
        try:
            answer = session.post(
                webhook.url.get_secret_value(), json=body, timeout=webhook.timeout_seconds,
                allow_redirects=False, stream=True,
            )  # fmt: skip
        except requests.ConnectionError as error:
            return webhook.retries + 1, _why(error, webhook)
        answer.close()
    refused = None if answer.status_code < 300 else f"the answer was {answer.status_code}"
    return len(answer.raw.retries.history) + 1, refused


def _why(error: Exception, webhook: Webhook) -> str:
    """What ended the last attempt: in the words of its class, as the texts hold the address."""
    from urllib3.exceptions import NewConnectionError
    from urllib3.exceptions import TimeoutError as TooSlow

    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, TooSlow) and not isinstance(
        reason, NewConnectionError
    ):  # a subclass, of all things
        return f"no answer within {webhook.timeout_seconds:g} s"
    return type(reason or error).__name__


@contextmanager
def _silent() -> Iterator[None]:
    """urllib3 logs each retry with the path of the address; not while this thread posts."""
    mine = threading.get_ident()
    loud = [logging.getLogger(f"urllib3.{name}") for name in ("connectionpool", "util.retry")]

    def others(record: logging.LogRecord) -> bool:
        return record.thread != mine

    for logger in loud:
        logger.addFilter(others)
    try:
        yield
    finally:
        for logger in loud:
            logger.removeFilter(others)


def _run(command: Command, body: Mapping[str, Any]) -> tuple[int, str | None]:
    """Start the command; what it starts in turn ends with it when its time is up."""
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command.run, stdin=subprocess.PIPE, stdout=said, stderr=said, start_new_session=True
        )
        try:
            child.communicate(json.dumps(body).encode(), command.timeout_seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return 1, f"not done within {command.timeout_seconds:g} s"
        if child.returncode:
            said.seek(0)
            log.warning(
                "%s said: %s", command.run[0], redact(said.read()[-500:].decode("utf-8", "replace"), ())
            )
    return 1, f"it ended with status {child.returncode}" if child.returncode else None


def _put(path: Path, body: Mapping[str, Any]) -> tuple[int, str | None]:
    storage.replace(path, json.dumps(body, indent=1).encode())
    return 1, None


def _tag(config: Config, record: RunRecord) -> NotifyOutcome:
    name, version = str(record.model.get("name")), str(record.model.get("version"))

    def act() -> tuple[int, str | None]:
        from mlflow import MlflowClient

        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        verdict = f"{record.run_date}: {headline(record)}"
        MlflowClient(config.tracking).set_model_version_tag(name, version, TAG, verdict)
        return 1, None

    return _tried("tag", f"models:/{name}/{version}", act)
