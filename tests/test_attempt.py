"""An attempt becomes a record: timed, free of secrets, whatever the outcome."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.attempt import Attempt
from pipelines.config import Config
from pipelines.errors import DataRefused, ScorelineError, Stopped
from pipelines.redaction import mask, redact

SECRET = "s3cr3t-value"


def attempt(secrets: tuple[str, ...] = ()) -> Attempt:
    config = Config.model_validate({
        "name": "toy", "model": {"uri": "m"}, "source": {"format": "csv", "path": "p"}, "run_date": "2026-11-22",
    })  # fmt: skip
    config._secrets = secrets
    return Attempt(config, lambda: datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC))


def test_a_record_says_when_it_began_by_the_clock_it_was_given() -> None:
    record = attempt().record("published")
    assert (record.started_at, record.run_date) == ("2026-11-23T01:02:03.456+00:00", "2026-11-22")
    assert (record.run_id, record.status, record.exit_code, record.error) == ("unknown", "published", 0, None)


def test_a_stage_that_fails_is_timed_too() -> None:
    tried = attempt()
    with pytest.raises(KeyError), tried.stage("score"):
        raise KeyError
    assert set(tried.record("failed").seconds) == {"score", "total"}


def test_a_stage_entered_twice_adds_up() -> None:
    tried = attempt()
    tried.seconds["read"] = 5.0
    with tried.stage("read"):
        pass
    assert tried.seconds["read"] >= 5.0


def test_rows_per_second_are_told_only_of_rows_that_this_attempt_scored() -> None:
    tried = attempt()
    tried.facts["rows"] = {"read": 10, "scored": 10, "quarantined": 0}
    assert tried.record("already_published").rows_per_second is None
    with tried.stage("score"):
        pass
    assert tried.record("published").rows_per_second > 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataRefused("m", hint="h"), 65),
        (ScorelineError("m", hint="h"), 70),
        (Stopped(15), 143),
        (Stopped(2), 130),
    ],
)
def test_an_error_gives_the_record_its_code_and_its_words(error: Any, code: int) -> None:
    record = attempt().record("failed", error)
    assert record.exit_code == code
    assert record.error == {"class": type(error).__name__, "message": error.message, "hint": error.hint}


def test_no_secret_is_left_anywhere_in_a_record() -> None:
    tried = attempt((SECRET,))
    tried.facts |= {
        "model": {"uri": f"/models/{SECRET}"},
        "inputs": {"path": f"in/{SECRET}", "files": 1},
        "quarantined_by": {f"rule({SECRET})": 3},
        "checks": {"input": {"failed": [SECRET], "deep": ({"x": SECRET},)}},
    }
    tried.warn(f"cannot reach https://me:pw@host/{SECRET}")
    record = tried.record("failed", DataRefused(f"found {SECRET}", hint=f"remove {SECRET}"))
    text = json.dumps(record.to_dict())
    assert SECRET not in text
    assert "me:pw" not in text
    assert record.inputs == {"path": "in/***", "files": 1}
    assert record.warnings == ("cannot reach https://***@host/***",)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://user:pass@db/mlflow", "postgresql://***@db/mlflow"),
        ("https://token@host/x", "https://***@host/x"),
        ("https://host/x?X-Amz-Signature=abc&y=1", "https://host/x?X-Amz-Signature=***&y=1"),
        ("https://host/x?sv=1&sig=a%2Bb", "https://host/x?sv=1&sig=***"),
        ("models:/toy@champion", "models:/toy@champion"),
        ("https://host:8080/x", "https://host:8080/x"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_passwords_and_signatures_in_uris_are_masked_and_nothing_else(text: str, clean: str) -> None:
    assert redact(text, ()) == clean


def test_a_secret_within_another_leaves_no_rest() -> None:
    assert mask("abcdefgh", ["abcd", "abcdefgh"]) == "***"


def test_a_tiny_secret_is_no_secret() -> None:
    assert mask("1 of 21 rows", ["1"]) == "1 of 21 rows"


@given(before=st.text(), secret=st.text(alphabet="abcXYZ019-_", min_size=4), after=st.text())
def test_masking_removes_a_secret_wherever_it_stands(before: str, secret: str, after: str) -> None:
    assert secret not in mask(before + secret + after, [secret]).replace("***", " ")
