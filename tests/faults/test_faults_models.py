"""Models that raise, die or get values beyond measure; clocks that jump; locks that nobody holds."""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from batch_factory import DAY, data_files, day_of
from fault_models import Dying, Raising
from model_factory import save, signature
from places import Place, leftovers, published
from processes import ROOT, SUBMIT, environment

from pipelines import ledger, publish
from pipelines.java import snappy_options

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
SIGNED = ({"a": "double", "b": "double"}, {"prediction": "double"})
MIB = 2**20


def unpickled(place: Place, model: Any) -> dict[str, Any]:
    place.model = save(model, place.home / "model", signature(*SIGNED))
    return {"model": {"allow_pickle": True}, "drift": {"baseline": "none"}}


# --- models ---


def test_rows_on_which_a_model_raises_are_quarantined_and_their_neighbours_are_scored(place: Place) -> None:
    frame = day_of(3000)
    place.give(frame)
    poison = frame["a"] > 2.5
    assert 0 < poison.sum() < 40
    record = place.run(quality={"max_quarantined": 0.1}, **unpickled(place, Raising(2.5)))
    assert record.rows == {
        "read": 3000,
        "scored": 3000 - int(poison.sum()),
        "quarantined": int(poison.sum()),
    }
    assert sorted(place.table()["id"]) == frame["id"][~poison].tolist()
    refused = place.table("quarantine")
    assert sorted(refused["id"]) == frame["id"][poison].tolist()
    assert {tuple(r) for r in refused["reasons"]} == {("ValueError: more than I can take",)}


def test_a_model_that_kills_its_worker_exits_70_and_the_same_run_ends_well_when_it_no_longer_does(
    place: Place,
) -> None:
    place.give(day_of(100))
    clean = Place(place.home, place.model, place.spark)
    clean.run(sink={"path": f"{place.home}/clean"}, drift={"baseline": "none"})
    sections = unpickled(place, Dying(str(place.home / "calls"), 1))
    record = place.fails(70, "worker", **sections)
    assert data_files(place.root) == []
    assert record.status == "failed"
    assert place.run(**sections).rows == {"read": 100, "scored": 100, "quarantined": 0}
    expected = pd.read_parquet(place.home / "clean" / "toy" / "predictions").sort_values("id")
    assert place.table().sort_values("id")["prediction"].tolist() == expected["prediction"].tolist()


# --- fields beyond measure ---

# 52 is Spark's own, where of spark-submit's JVM nothing is left that could pass ours on; which thread is the first to
# find no memory decides
SHORT_OF_MEMORY = (52, 70)
HUGE = [
    ("parquet", "3g", (0,)),
    ("csv", "3g", (0,)),
    ("csv", "512m", (0,)),  # no row goes through the JVM
    ("csv read by Spark", "512m", SHORT_OF_MEMORY),
]


@pytest.mark.parametrize(("kind", "memory", "codes"), HUGE, ids=[" with ".join(h[:2]) for h in HUGE])
def test_a_field_of_64_mib_arrives_as_it_is_or_memory_is_short_and_nothing_is_published(
    tmp_path: Path, place: Place, kind: str, memory: str, codes: tuple[int, ...]
) -> None:
    text = "é7" * (64 * MIB // 3)
    frame = day_of(20).assign(text=[text] + ["short"] * 19)
    place.give(frame)
    source: dict[str, Any] = {"carry": ["text"]}
    if kind != "parquet":
        (tmp_path / "in" / DAY / "part.parquet").unlink()
        frame.to_csv(tmp_path / "in" / DAY / "part.csv", index=False)
        source |= {"format": "csv", "types": {"id": "bigint"}}
    engine = "udf" if "Spark" in kind else "auto"
    tree = place.tree(source=source, scoring={"engine": engine})
    tree.pop("run_date")
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps(tree))
    java = [f"spark.driver.extraJavaOptions={snappy_options()}"] if snappy_options() else []
    done = subprocess.run(
        [SUBMIT, "--master", "local[2]", "--driver-memory", memory, *(p for j in java for p in ("--conf", j)),
         "jobs/run_batch.py", "--config", str(conf), "--run-date", DAY],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode in codes, done.stderr[-3000:]
    if codes == SHORT_OF_MEMORY:
        assert data_files(place.root) == []
        return
    assert json.loads(done.stdout.splitlines()[-1])["rows"] == {"read": 20, "scored": 20, "quarantined": 0}
    assert leftovers(place.root) == []
    (found,) = (t for t in place.table()["text"] if t != "short")
    assert hashlib.sha256(found.encode()).digest() == hashlib.sha256(text.encode()).digest()


# --- clocks and locks ---


def test_a_clock_that_goes_backwards_changes_nothing_that_is_published(place: Place) -> None:
    times = [datetime(2026, 11, 23, 3, tzinfo=UTC)]

    def backwards() -> datetime:
        times.append(times[-1] - timedelta(hours=30))
        return times[-1]

    place.give(day_of(50, missing=0))
    first = place.run(clock=backwards)
    before = published(place.root), set(place.table()["timestamp"])
    again = place.run(clock=backwards)
    forced = place.run(clock=backwards, force=True)
    assert [r.status for r in (first, again, forced)] == ["published", "already_published", "published"]
    assert (published(place.root), set(place.table()["timestamp"])) == before
    assert publish.newest_commit(publish.slot(str(place.home / "out"), "toy", DAY))["version"] == 2  # type: ignore[index]
    assert len(ledger.history(place.root)) == 3


def test_a_lock_file_that_nobody_holds_stops_nobody(place: Place) -> None:
    path = place.root / "_control" / "locks" / f"run_date={DAY}.lock"
    path.parent.mkdir(parents=True)
    path.write_text("pid 4711 of a machine that is gone")
    place.give(day_of(20))
    assert place.run().status == "published"


def test_staging_and_commit_scraps_of_a_dead_run_are_no_obstacle(place: Place) -> None:
    scrap = place.root / "_work" / f"run_date={DAY}~r0~dead" / "written" / "_temporary"
    scrap.mkdir(parents=True)
    commits = place.root / "_control" / "commits" / f"run_date={DAY}"
    commits.mkdir(parents=True)
    (commits / ".00000001.json.dead").write_text('{"version":')
    place.give(day_of(20))
    assert place.run().status == "published"
    assert leftovers(place.root) == []
    assert len(place.table()) == 20
