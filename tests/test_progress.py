"""A person at a terminal sees how far the job is and what came of it; a scheduler's log sees neither."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from batch_factory import DAY, configure
from report_factory import DRIFT, FAILED, HOSTILE, REFUSED, a_record

from jobs import progress
from pipelines import load_config, terminal
from pipelines.scoring import units
from pipelines.terminal import Reading

ANY: Any = None  # the configuration of a run that is looked at in another way
ROOT = Path(__file__).parents[1]


class Screen(io.StringIO):
    """A terminal; ``shown`` is what stands on its lines in the end."""

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> list[str]:
        lines = self.getvalue().split("\n")
        return [line.rsplit("\r", 1)[-1].replace("\x1b[K", "") for line in lines]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (Reading(1, tasks=8, done=0, rows=0), "0/8 tasks"),
        (Reading(1, tasks=8, done=2, rows=0), "2/8 tasks, 0:30 to go"),
        (Reading(1, tasks=8, done=2, rows=50_000), "2/8 tasks, 50,000 rows, 5,000 rows/s, 0:30 to go"),
        (Reading(1, tasks=8, done=8, rows=80_000), "8/8 tasks, 80,000 rows, 8,000 rows/s"),
        (Reading(1, tasks=1000, done=1, rows=0), "1/1000 tasks, 166:30 to go"),
    ],
)
def test_the_bar_tells_tasks_rows_speed_and_time_to_go(now: Reading, said: str) -> None:
    screen, clock = Screen(), Clock()
    bar = progress.Bar(screen, clock)
    bar.show(Reading(1, now.tasks, 0, 0))
    clock.now += 10
    bar.show(now)
    (line,) = screen.shown
    assert line.endswith(f"]  {said}")
    assert line.count("#") == 36 * now.done // now.tasks


def test_a_new_stage_is_timed_from_its_own_beginning() -> None:
    screen, clock = Screen(), Clock()
    bar = progress.Bar(screen, clock)
    bar.show(Reading(1, 4, 4, 400))
    clock.now += 1000
    bar.show(Reading(2, 4, 0, 0))
    clock.now += 10
    bar.show(Reading(2, 4, 1, 100))
    assert screen.shown[-1].endswith("100 rows, 10 rows/s, 0:30 to go")


def test_rows_that_an_earlier_attempt_has_left_do_not_count_as_speed() -> None:
    screen, clock = Screen(), Clock()
    bar = progress.Bar(screen, clock)
    bar.show(Reading(1, 4, 0, 900))
    clock.now += 10
    bar.show(Reading(1, 4, 1, 1000))
    assert screen.shown[-1].endswith("1,000 rows, 10 rows/s, 0:30 to go")


def test_a_line_is_never_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen()
    progress.Bar(screen).show(Reading(1, 8, 2, 50_000))
    assert len(screen.shown[0]) == 39


def test_nothing_is_left_of_the_bar_in_the_end() -> None:
    screen = Screen()
    bar = progress.Bar(screen)
    bar.show(Reading(1, 4, 2, 0))
    assert screen.shown != [""]
    bar.show(None)
    assert screen.shown == [""]


def test_log_lines_do_not_share_their_line_with_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    handler = logging.StreamHandler(screen)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    drawn = threading.Event()

    def look() -> Reading:
        drawn.set()
        return Reading(1, 4, 2, 0)

    with progress.watched(ANY, screen, look, period=0.01):
        assert drawn.wait(10)
        time.sleep(0.05)
        logging.getLogger("scoreline").warning("publishing")
    assert "publishing" in screen.shown
    assert screen.shown[-1] == ""
    assert "scoring" in screen.getvalue()
    assert handler.filters == []


def test_a_look_that_fails_ends_neither_the_run_nor_the_watching() -> None:
    screen, asked = Screen(), threading.Semaphore(0)
    answers = iter([OSError("Spark has not begun"), Reading(1, 4, 2, 0), OSError("Spark has ended")])

    def look() -> Reading | None:
        asked.release()
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with progress.watched(ANY, screen, look, period=0.01):
        assert all(asked.acquire(timeout=10) for _ in range(4))
    assert "2/4 tasks" in screen.getvalue()
    assert screen.shown == [""]


def test_where_there_is_no_terminal_nothing_is_looked_at_or_written() -> None:
    log = io.StringIO()

    def look() -> Reading | None:
        raise AssertionError("nobody is watching")

    with progress.watched(ANY, log, look, period=0.001):
        time.sleep(0.02)
    progress.told(a_record().to_dict(), log)
    assert log.getvalue() == ""


def test_a_run_is_told_as_a_table() -> None:
    screen = Screen()
    progress.told(DRIFT.record.to_dict(), screen)
    assert screen.getvalue() == (
        "machine-failure 2026-11-22: Published, drift in 2 columns: torque, type\n"
        "  read         1,250,000\n"
        "  scored       1,249,100\n"
        "  quarantined        900  0.07 %\n"
        "                     700  expect_column_values_to_be_between(air)\n"
        "                     350  not_null(torque)\n"
        "  drift        torque, type\n"
        "  time         36.4 s, 40,231 rows/s\n"
    )


@pytest.mark.parametrize(
    ("record", "lines"),
    [
        (REFUSED.record, ["  error        120 of 1,000 rows.", "  to do        Look at the quarantine."]),
        (FAILED.record, ["machine-failure 2026-11-22: Failed: No registry at sqlite:///x.db"]),
        (a_record(warnings=("old",)), ["  warning      old", "  drift        none"]),
        (a_record(paths={"report": "out/x.html"}), ["  page         out/x.html"]),
        (a_record(drift={"status": "insufficient_data"}), ["  drift        too little data"]),
        (
            a_record(quarantined_by={f"rule {i}": 9 for i in range(11)}),
            ["                          and 3 more reasons"],
        ),
    ],
)
def test_each_kind_of_run_has_its_lines(record: Any, lines: list[str]) -> None:
    told = terminal.table(record).splitlines()
    assert [line for line in lines if line not in told] == []


def test_a_hostile_name_cannot_steer_the_terminal() -> None:
    nasty = "\x1b[2J\x1b]0;owned\x07\r" + HOSTILE
    record = a_record(
        quarantined_by={nasty: 3},
        drift={"status": "drift", "columns": [nasty]},
        warnings=(nasty,),
        error={"message": nasty, "hint": nasty},
        paths={"report": nasty},
    )
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", terminal.table(record))


def test_a_run_without_a_record_is_not_told() -> None:
    screen = Screen()
    progress.told({"status": "failed", "exit_code": 64}, screen)
    assert screen.getvalue() == ""


def test_spark_says_how_far_the_job_of_a_pipeline_is(spark: Any, tmp_path: Path) -> None:
    """Of four tasks two are held up until half of the job has been seen to be done."""
    config = load_config(configure(tmp_path, "models:/m/1", name="watched"), run_date=DAY)
    unit = tmp_path / "out" / "watched" / "_work" / f"run_date={DAY}~r1~0" / "units" / "any" / "u1"
    unit.mkdir(parents=True)
    (unit / units.ROWS).write_text(json.dumps(asdict(units.Rows(scored=70, quarantined=7))))
    gate = tmp_path / "gate"

    def held_up(n: int) -> None:
        while n >= 2 and not gate.exists():
            time.sleep(0.02)

    def work() -> None:
        spark.sparkContext.setJobGroup("scoreline:watched", "a job")
        spark.sparkContext.parallelize(range(4), 4).map(held_up).collect()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while (now := terminal.reading("watched")) is None or now.done < 2:
            assert thread.is_alive()
            time.sleep(0.02)
        assert (now.tasks, now.done, now.rows) == (4, 2, 0)
        assert terminal.watcher(config)() == replace(now, rows=77)
        assert terminal.reading("another") is None
    finally:
        gate.touch()
        thread.join()
    assert terminal.reading("watched") is None


def test_a_job_at_a_terminal_shows_a_table_there_and_one_line_on_standard_output(tmp_path: Path) -> None:
    config = configure(
        tmp_path, "models:/nobody-asks/1"
    )  # there is no input: the run ends before Spark begins
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "jobs.run_batch", "--config", str(config), "--run-date", DAY]
    job = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    while piece := _read(ours):
        seen += piece
    assert job.stdout is not None
    with job.stdout as out:
        lines = out.read().splitlines()
    assert job.wait(60) == 66
    assert [json.loads(line)["exit_code"] for line in lines] == [66]
    text = seen.decode().replace("\r\n", "\n")
    assert f"\ntoy {DAY}: Failed: source.path" in text
    assert "\n  to do        " in text


def _read(terminal_side: int) -> bytes:
    try:
        return os.read(terminal_side, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""
