"""The kill campaign: drivers die at random instants and before random steps while a reader polls throughout.

SCORELINE_KILLS sets their number (20), SCORELINE_SEED repeats a campaign. The table is printed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from attempts import sights_of
from batch_factory import DAY, day_of
from places import Place, leftovers, published
from processes import ROOT, awaited, descendants, environment, kill

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]
KILLS = int(os.environ.get("SCORELINE_KILLS", "20"))
DATES = [f"2026-{1 + n // 28:02d}-{1 + n % 28:02d}" for n in range(max(4, KILLS // 4))]
PROGRAM = str(Path(__file__).with_name("attempts.py"))


@dataclass
class Campaign:
    """Attempts, one after the other, in children that share one JVM; and what became of them."""

    place: Place
    server: subprocess.Popen[str]
    clean: dict[str, Any] = field(default_factory=dict)
    table: Counter[tuple[str, str]] = field(default_factory=Counter)
    pace: dict[str, tuple[float, int]] = field(default_factory=dict)
    attempts: int = 0
    killed: int = 0
    zombies: int = 0

    def attempt(
        self, day: str, which: str, sink: str, *, force: bool = False, **fault: Any
    ) -> dict[str, Any]:
        self.begin(day, which, sink, force=force, **fault)
        return self.end()

    def begin(self, day: str, which: str, sink: str, *, force: bool = False, **fault: Any) -> Path:
        """Order an attempt; returns where it leaves its trail."""
        tree = self.place.tree(day, sink={"path": f"{self.place.home}/{sink}"})
        tree["source"]["path"] = str(self.place.home / "in" / which)
        if which == "B":
            tree["source"] |= {"format": "csv", "types": {"id": "bigint"}}
        trail = self.place.home / f"trail-{self.server.pid}"
        trail.unlink(missing_ok=True)
        order = {"config": tree, "force": force, "trail": str(trail), **fault}
        assert self.server.stdin is not None
        print(json.dumps(order), file=self.server.stdin, flush=True)
        return trail

    def end(self) -> dict[str, Any]:
        assert self.server.stdout is not None
        return json.loads(self.server.stdout.readline())


@contextmanager
def program(home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with (home / f"{arguments[0]}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, PROGRAM, *arguments],
            cwd=ROOT, env=environment(home), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            kill(pid)
        process.communicate()


@contextmanager
def served(place: Place) -> Iterator[Campaign]:
    gateway = place.spark.sparkContext._gateway.gateway_parameters  # type: ignore[union-attr]
    with program(place.home, str(gateway.port), str(gateway.auth_token)) as server:
        assert server.stdout is not None
        assert json.loads(server.stdout.readline()) == {"ready": True}
        yield Campaign(place, server)


@pytest.fixture
def campaign(place: Place) -> Iterator[Campaign]:
    """Two inputs: A is Parquet, B is CSV."""
    place.give(day_of(2000, missing=5, seed=1), "A")
    (place.home / "in" / "B").mkdir()
    day_of(1500, missing=3, seed=2).to_csv(place.home / "in" / "B" / "part.csv", index=False)
    with served(place) as found:
        yield found


def death(chance: random.Random, seconds: float, steps: int) -> dict[str, Any]:
    """Half of the deaths come at an instant, half before a change of the file system."""
    if chance.random() < 0.5:
        return {"after_seconds": chance.uniform(0, 1.1 * seconds)}
    return {"before_step": chance.randint(1, steps)}


def test_whenever_a_driver_is_killed_nothing_is_lost_doubled_or_half_seen(
    campaign: Campaign, chance: random.Random, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    place = campaign.place
    for which in ("A", "B"):  # the clean runs, which also warm the JVM up
        ended = campaign.attempt(DATES[0], which, f"clean-{which}", before_step=10**9)
        assert ended["code"] == 0, ended
        campaign.pace[which] = ended["seconds"], ended["steps"]
        campaign.clean[which] = published(place.home / f"clean-{which}" / "toy", DATES[0])
    assert campaign.clean["A"] != campaign.clean["B"]

    stop = place.home / "stop"
    with program(place.home, "read", str(place.root / "predictions"), str(stop)) as reader:
        wanted: dict[str, str] = {}
        while campaign.killed < KILLS:
            number = campaign.attempts
            day = DATES[number % len(DATES)]
            which, force = chance.choice("AB"), day in wanted
            how = death(chance, *campaign.pace[which])
            said = (
                f"kill {number} ({how}, {which} of {day}, force={force}); repeat with SCORELINE_SEED={seed}"
            )
            _kill_and_rerun(campaign, day, which, force, how, said)
            wanted[day] = which
        stop.touch()
        observed = json.loads(reader.communicate(timeout=120)[0])

    tracker = place.spark.sparkContext.statusTracker()
    while tracker.getActiveJobsIds():  # the dead's
        time.sleep(0.1)
    for day, which in wanted.items():  # what the dead's jobs have left is found by the next run of the date
        assert campaign.attempt(day, which, "out")["record"]["status"] == "already_published"
        assert published(place.root, day) == campaign.clean[which]
    with capsys.disabled():
        print(_report(campaign, observed, seed))  # noqa: T201 - the table is to be seen
    assert leftovers(place.root) == [], f"SCORELINE_SEED={seed}"
    _judge(campaign, observed, seed)


def _kill_and_rerun(
    campaign: Campaign, day: str, which: str, force: bool, how: dict[str, Any], said: str
) -> None:
    first = campaign.attempt(day, which, "out", force=force, **how)
    assert first["code"] in (-9, 0), f"{said}: {first}"
    again = campaign.attempt(day, which, "out", force=force, before_step=10**9)
    assert again["code"] == 0, f"{said}: {again}"
    if again["record"]["status"] == "published":
        campaign.pace[which] = again["seconds"], again["steps"]
    assert published(campaign.place.root, day) == campaign.clean[which], said
    assert again["record"]["rows"]["read"] == sum(map(len, campaign.clean[which])), said
    stage = first["stage"] if first["code"] else "over before the signal"
    campaign.table[stage, "supersedes" if force else "first"] += 1
    campaign.table[stage, again["record"]["status"]] += 1
    campaign.attempts += 1
    campaign.killed += first["code"] != 0
    campaign.zombies += any(name.startswith(f"run_date={day}~") for name in leftovers(campaign.place.root))


def _judge(campaign: Campaign, observed: dict[str, Any], seed: int) -> None:
    """Every sight of a date was the whole of a clean run."""
    whole = set()
    for which in "AB":
        folder = campaign.place.home / f"clean-{which}" / "toy" / "predictions"
        whole |= {sight[1:] for sight in sights_of(pd.read_parquet(folder))}
    strange = [s for s in observed["sights"] if tuple(s[1:5]) not in whole]
    assert strange == [], f"SCORELINE_SEED={seed}"
    assert observed["lost"] == [], f"SCORELINE_SEED={seed}"
    assert observed["polls"] > KILLS


ORDER = ("start of the process", "resolve", "start", "read", "plan", "score", "audit", "judge", "publish",
         "report", "track", "over")  # fmt: skip


HEAD = """
{killed} kills in {attempts} attempts, seed {seed}

| last stage before the kill | first publication | superseding | rerun published | rerun found it done |
|---|---|---|---|---|
{rows}

reader: {polls} polls, {sights} sights of dates, {again} times asked again (a file went while its date was
superseded), {lost} dates lost; reruns after which the job of the dead had made its own staging again: {zombies}
"""


def _report(campaign: Campaign, observed: dict[str, Any], seed: int) -> str:
    columns = ("first", "supersedes", "published", "already_published")
    stages = sorted(
        {stage for stage, _ in campaign.table},
        key=lambda s: (ORDER.index(next(o for o in ORDER if s.startswith(o))), s),
    )
    return HEAD.format(
        killed=campaign.killed,
        attempts=campaign.attempts,
        seed=seed,
        rows="\n".join(
            f"| {' | '.join([stage, *(str(campaign.table[stage, c]) for c in columns)])} |"
            for stage in stages
        ),
        polls=observed["polls"],
        sights=sum(s[-1] for s in observed["sights"]),
        again=observed["again"],
        lost=len(observed["lost"]),
        zombies=campaign.zombies,
    )


def test_a_driver_that_sleeps_keeps_its_date_and_publishes_when_it_wakes(campaign: Campaign) -> None:
    place = campaign.place
    clean = campaign.attempt(DAY, "A", "clean")
    assert clean["code"] == 0, clean
    trail = campaign.begin(DAY, "A", "out", pause=True)
    (pid,) = awaited(lambda: _paused(trail), 60)
    try:
        with served(place) as other:
            refused = other.attempt(DAY, "A", "out")
            forced = other.attempt(DAY, "B", "out", force=True)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (refused["code"], forced["code"]) == (75, 75)
    assert refused["record"]["error"]["class"] == "RunActive"
    assert campaign.end()["code"] == 0
    assert published(place.root) == published(place.home / "clean" / "toy")
    assert leftovers(place.root) == []


def _paused(trail: Path) -> list[int]:
    lines = trail.read_text().splitlines() if trail.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith("paused ")]


def test_of_two_drivers_at_once_one_publishes_and_the_other_is_told(campaign: Campaign) -> None:
    place = campaign.place
    with served(place) as other:
        for racer in (campaign, other):
            racer.begin(DAY, "A", "out")
        ends = [racer.end() for racer in (campaign, other)]
    assert sorted(e["code"] for e in ends) in ([0, 75], [0, 0])  # the second may come when all is done
    assert "published" in {e["record"]["status"] for e in ends}
    assert len(place.table()) == 1995
    assert [p.name for p in (place.root / "_control" / "commits" / f"run_date={DAY}").iterdir()] == [
        "00000001.json"
    ]
