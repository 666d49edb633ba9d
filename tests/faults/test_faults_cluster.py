"""SIGKILL on a real cluster: what runs on executors may die and the run goes on; a dead driver's run is run again."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from batch_factory import DAY, day_of, settings
from cluster import Cluster, Ended, cluster
from model_factory import Slow, save, signature
from places import leftovers, published
from processes import awaited, command_line, descendants, kill

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
FILES, ROWS, SECONDS = 8, 250, 1.0  # files are tasks; seconds for each


@dataclass
class Site:
    """The cluster, one input and a clean run of it."""

    cluster: Cluster
    clean: Any
    record: dict[str, Any]

    def config(self, sink: str) -> Path:
        home = self.cluster.home
        tree = settings(home, home / "slow", tracking_uri="nonsense://x", sink={"path": f"{home}/{sink}"})
        tree["model"]["allow_pickle"] = True
        path = home / f"{sink}.json"
        path.write_text(json.dumps(tree))
        return path

    def start(self, sink: str) -> Any:
        return self.cluster.submit("--config", str(self.config(sink)), "--run-date", DAY)

    def root(self, sink: str) -> Path:
        return self.cluster.home / sink / "toy"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    save(Slow(SECONDS), home / "slow", signature({"a": "double", "b": "double"}, {"prediction": "double"}))
    (home / "in" / DAY).mkdir(parents=True)
    frame = day_of(FILES * ROWS, missing=4)
    for n in range(FILES):
        frame[n * ROWS : (n + 1) * ROWS].to_parquet(home / "in" / DAY / f"part-{n}.parquet", index=False)
    with cluster(home) as up:
        found = Site(up, None, {})
        ended = up.ended(found.start("clean"))
        assert ended.code == 0, ended.log[-3000:]
        found.clean, found.record = published(found.root("clean")), ended.record
        yield found


def machine(up: Cluster) -> list[int]:
    """A worker of the cluster with all that runs on it: the node is gone."""
    alive = [d for d in up.daemons if d.poll() is None]
    busy = [d for d in alive if descendants(d.pid)]
    return [*descendants(busy[0].pid), busy[0].pid] if busy else []


VICTIMS: dict[str, tuple[Callable[[Cluster, random.Random], list[int]], ...]] = {
    "a Python worker, then a Python daemon": (
        lambda up, chance: _one(up.python_workers(), chance),
        lambda up, chance: _one(up.python_daemons(), chance),
    ),
    "an executor": (lambda up, chance: _one(up.executors(), chance),),
    "a machine": (lambda up, _: machine(up),),  # the last: the cluster has one worker less afterwards
}


def _one(found: list[int], chance: random.Random) -> list[int]:
    return [chance.choice(found)] if found else []


def complete(site: Site, sink: str, ended: Ended) -> None:
    """It ended well, and what it published is what the clean run has published."""
    assert ended.code == 0, ended.log[-3000:]
    assert ended.record["status"] == "published"
    assert ended.record["rows"] == site.record["rows"] == {"read": 2000, "scored": 1996, "quarantined": 4}
    assert published(site.root(sink)) == site.clean
    assert leftovers(site.root(sink)) == []


def test_a_driver_that_is_killed_publishes_nothing_and_the_same_command_finishes_the_work(
    site: Site, chance: random.Random
) -> None:
    for kind in ("python", "JVM"):
        process = site.start("driver")
        site.cluster.wait_for("INFO score", process)
        time.sleep(chance.uniform(0, FILES * SECONDS / 2))
        assert kill(driver(process.pid, kind))
        assert site.cluster.ended(process).code != 0
        assert not list(site.root("driver").glob("predictions/*"))
    complete(site, "driver", site.cluster.ended(site.start("driver")))


def driver(pid: int, kind: str) -> int:
    """The JVM that spark-submit has started, or the Python process below it."""
    family = [pid, *descendants(pid)]
    java = [p for p in family if "org.apache.spark.deploy.SparkSubmit" in command_line(p)]
    python = [p for p in family if p not in java and "jobs/run_batch.py" in command_line(p)]
    (found,) = java if kind == "JVM" else python
    return found


@pytest.mark.parametrize("victims", VICTIMS)
def test_a_run_survives_the_death_of(site: Site, chance: random.Random, victims: str) -> None:
    sink = victims.replace(" ", "-")
    process = site.start(sink)
    site.cluster.wait_for("INFO score", process)
    awaited(site.cluster.python_workers, 60, lambda: process.poll() is None)
    for find in VICTIMS[victims]:
        time.sleep(chance.uniform(0, FILES * SECONDS / 5))
        found = awaited(lambda find=find: find(site.cluster, chance), 60, lambda: process.poll() is None)
        assert sum(kill(pid) for pid in found) > 0
    ended = site.cluster.ended(process)
    complete(site, sink, ended)
    lost = ("Lost task", "Lost executor", "Worker lost")
    assert any(word in ended.log for word in lost), "nothing was disturbed"
