"""The ledger: every attempt is one whole file, and the newest published run can be found."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pipelines import ledger, storage
from pipelines.records import RunRecord


def record(
    day: str, status: Any = "published", at: str = "2026-11-22T01:00:00.000+00:00", run: str = "r1"
) -> RunRecord:
    return RunRecord(name="toy", run_id=run, run_date=day, status=status, exit_code=0, started_at=at)


def test_what_was_written_is_read_back_equal(tmp_path: Path) -> None:
    written = RunRecord(
        name="toy", run_id="r1", run_date="2026-11-22", status="refused", exit_code=65,
        started_at="2026-11-22T01:00:00.000+00:00", rows={"read": 3}, warnings=("one", "two"),
        error={"class": "DataRefused", "message": "m", "hint": "h"},
    )  # fmt: skip
    path = ledger.write(tmp_path, written)
    assert ledger.history(tmp_path) == (written,)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_history_is_in_the_order_of_the_attempts_not_of_their_dates(tmp_path: Path) -> None:
    ledger.write(tmp_path, record("2026-11-20", at="2026-11-22T02:00:00.000+00:00"))
    ledger.write(tmp_path, record("2026-11-21", at="2026-11-22T01:00:00.000+00:00"))
    assert [r.run_date for r in ledger.history(tmp_path)] == ["2026-11-21", "2026-11-20"]


def test_a_file_that_is_no_record_is_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = ledger.write(tmp_path, record("2026-11-22"))
    for name, text in {"a": "{", "b": "[]", "c": '{"name": "toy"}', "d": "\udcff"}.items():
        good.with_name(f"{name}.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with caplog.at_level(logging.WARNING):
        assert ledger.history(tmp_path) == (record("2026-11-22"),)
    assert len(caplog.messages) == 4


def test_a_failed_write_leaves_the_old_file_and_no_scrap(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(OSError, match="directory"):
        storage.replace(tmp_path / "f", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([], None),
        ([("2026-11-22", "published", "3")], None),  # the date itself is not earlier
        ([("2026-11-20", "published", "1"), ("2026-11-21", "published", "2")], "2"),
        (
            [("2026-11-21", "published", "1"), ("2026-11-20", "published", "2")],
            "1",
        ),  # latest date, not latest run
        ([("2026-11-21", "published", "1"), ("2026-11-21", "published", "2")], "2"),  # superseded
        ([("2026-11-20", "published", "1"), ("2026-11-21", "refused", "2")], "1"),
        ([("2026-11-20", "published", "1"), ("2026-11-21", "already_published", "2")], "1"),
    ],
)
def test_the_last_published_run_before_a_date(
    tmp_path: Path, runs: list[tuple[str, str, str]], found: str | None
) -> None:
    for day, status, n in runs:
        ledger.write(tmp_path, record(day, status, f"2026-11-22T0{n}:00:00.000+00:00", n))
    last = ledger.last_published(tmp_path, "2026-11-22")
    assert (last and last.run_id) == found


def test_after_a_clock_that_went_back_the_committed_run_is_the_last(tmp_path: Path) -> None:
    ledger.write(tmp_path, record("2026-11-21", at="2026-11-22T09:00:00.000+00:00", run="superseded"))
    ledger.write(tmp_path, record("2026-11-21", at="2026-11-22T01:00:00.000+00:00", run="current"))
    commits = tmp_path / "_control" / "commits" / "run_date=2026-11-21"
    commits.mkdir(parents=True)
    for version, run in (("1", "superseded"), ("2", "current")):
        (commits / f"0000000{version}.json").write_text(f'{{"run_id": "{run}"}}')
    last = ledger.last_published(tmp_path, "2026-11-22")
    assert last is not None
    assert last.run_id == "current"
