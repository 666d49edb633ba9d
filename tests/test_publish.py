"""Publishing on plain Parquet: old or new, never a mixture, whatever dies where."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hadoop_store import FOLDERS, mounted
from pyspark.sql import SparkSession

from pipelines import publish
from pipelines.errors import ConfigInvalid, RunActive, SinkUnwritable
from pipelines.publish import exchange as exchanging
from pipelines.storage import STORES, HadoopPath

SCHEMA = pa.schema({"x": pa.int64()})


@pytest.fixture(params=["mounted", "hadoop"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> publish.Slot:
    """A date in ``tmp_path``, reached as a path and through Hadoop's FileSystem."""
    sink = tmp_path / "out"
    if request.param == "mounted":
        return publish.slot(str(sink), "toy", "2026-11-22")
    return publish.slot(f"{mounted(request.getfixturevalue('spark'), tmp_path)}/out", "toy", "2026-11-22")


def on_disk(path: Any) -> Path:
    """Where a path of the fixture is on this machine."""
    return path if isinstance(path, Path) else FOLDERS[path.base] / path.inner.relative_to("/store")


def staged(place: publish.Slot, run_id: str, value: int) -> publish.Staging:
    """A run whose four tables hold one row with ``value``."""
    staging = publish.open_staging(place, run_id)
    for table in publish.TABLES:
        publish.write_table(staging, table, pa.table({"x": [value]}, SCHEMA))
    return staging


def published(place: publish.Slot, run_id: str, value: int, base: Any = None) -> None:
    publish.promote(staged(place, run_id, value), base, {"record": {"run_id": run_id}})


def seen(place: publish.Slot) -> dict[str, list[int]]:
    """What a reader with no special options sees of each table."""
    return {
        t: pq.read_table(on_disk(place.root) / t)["x"].to_pylist()
        if list((on_disk(place.root) / t).rglob("*.parquet"))
        else []
        for t in publish.TABLES
    }


def all_see(value: int | None) -> dict[str, list[int]]:
    return {t: [] if value is None else [value] for t in publish.TABLES}


def leftovers(place: publish.Slot) -> list[Path]:
    return list((on_disk(place.root) / "_work").iterdir())


# --- the places ---


@pytest.mark.parametrize("scheme", [*(n for n, s in STORES.items() if not s.publishes), "unheard-of"])
def test_a_sink_on_a_store_that_copies_folders_is_refused_with_a_way_out(scheme: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"{scheme}://bucket/out.*(file after file|nobody)") as caught:
        publish.slot(f"{scheme}://bucket/out", "toy", "2026-11-22")
    assert "Mount it" in caught.value.hint


def test_a_file_uri_is_the_path_it_names(tmp_path: Path) -> None:
    assert publish.slot(f"file://{tmp_path}", "toy", "2026-11-22").root == tmp_path / "toy"


def test_a_sink_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with (
        pytest.raises(SinkUnwritable, match=r"cannot write .*out.*: Not a directory"),
        publish.lock(publish.slot(str(tmp_path / "out"), "toy", "2026-11-22")),
    ):
        pass


# --- promote ---


def test_a_promoted_run_is_all_that_is_seen(place: publish.Slot) -> None:
    published(place, "r1", 1)
    assert seen(place) == all_see(1)
    assert leftovers(place) == []


def test_a_superseding_run_replaces_the_other(place: publish.Slot) -> None:
    published(place, "r1", 1)
    published(place, "r2", 2, publish.newest_commit(place))
    assert seen(place) == all_see(2)
    assert [p.name for p in sorted(place.commits.iterdir())] == ["00000001.json", "00000002.json"]


def test_the_same_run_forced_again_is_there_once(place: publish.Slot) -> None:
    published(place, "r1", 1)
    published(place, "r1", 7, publish.newest_commit(place))
    assert seen(place) == all_see(7)


def test_dates_do_not_touch_each_other(place: publish.Slot) -> None:
    other = publish.Slot(place.root, "2026-11-23")
    published(place, "r1", 1)
    published(other, "r2", 2)
    assert seen(place) == {t: [1, 2] for t in publish.TABLES}
    assert publish.newest_commit(place)["run_id"] == "r1"  # type: ignore[index]


def test_only_parquet_is_below_the_table_roots(place: publish.Slot) -> None:
    published(place, "r1", 1)
    published(place, "r2", 2, publish.newest_commit(place))
    files = [f for t in publish.TABLES for f in (place.root / t).rglob("*") if f.is_file()]
    assert len(files) == 4
    assert {PurePosixPath(f.name).suffix for f in files} == {".parquet"}


def test_who_commits_second_loses_and_changes_nothing(place: publish.Slot) -> None:
    late = staged(place, "r2", 2)
    published(place, "r1", 1)
    with pytest.raises(RunActive, match="another run has committed"):
        publish.promote(late, None, {})
    publish.discard(late, keep_quarantine=False)
    assert seen(place) == all_see(1)
    assert leftovers(place) == []


def test_a_table_without_rows_still_has_its_schema(place: publish.Slot) -> None:
    staging = publish.open_staging(place, "r1")
    rows = publish.collect_table(staging, "predictions", [], SCHEMA)
    file = staging.table("predictions") / "part-00000.parquet"
    assert (rows, pq.read_schema(on_disk(file))) == (0, SCHEMA)


def test_the_rows_of_a_table_are_those_of_all_its_files(place: publish.Slot) -> None:
    staging = publish.open_staging(place, "r1")
    staging.written.mkdir()
    for n in (3, 4):
        pq.write_table(pa.table({"x": list(range(n))}), on_disk(staging.written) / f"f{n}.parquet")
    assert publish.collect_table(staging, "predictions", sorted(staging.written.iterdir()), SCHEMA) == 7


# --- crashes ---


def die_before(step: int) -> Callable[[str], None]:
    """Ends the process, without any clean-up, before the ``step``-th change of the file system."""
    count = 0

    def tick(_: str) -> None:
        nonlocal count
        count += 1
        if count == step:
            os._exit(9)

    return tick


def in_a_child(act: Callable[[], None], tick: Callable[[str], None], exchange: bool) -> int:
    """Run ``act`` in a forked process with ``tick`` before each change that promotion makes; its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def ticking(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            tick(name)
            return real(*args, **kwargs)

        return call

    os.link = ticking("link", os.link)
    os.rename = ticking("rename", os.rename)
    shutil.rmtree = ticking("rmtree", shutil.rmtree)  # type: ignore[assignment]
    exchanging._exchange = ticking("exchange", exchanging._exchange if exchange else lambda *_: False)
    try:
        act()
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("before", [None, 1], ids=["first", "superseding"])
def test_a_crash_between_any_two_steps_leaves_old_or_new_and_the_next_run_settles_it(
    tmp_path: Path, before: int | None, exchange: bool
) -> None:
    outcomes = []
    for step in range(1, 30):
        place = publish.slot(str(tmp_path / str(step)), "toy", "2026-11-22")
        if before is not None:
            published(place, "r1", before)
        base = publish.newest_commit(place)
        staging = staged(place, "r2", 2)

        def act(staging: publish.Staging = staging, base: Any = base) -> None:
            publish.promote(staging, base, {"record": {}})

        code = in_a_child(act, die_before(step), exchange)
        for table, rows in seen(
            place
        ).items():  # a table is whole: old, new, or, without exchange, briefly away
            allowed = [[before] if before else [], [2]] + ([] if exchange else [[]])
            assert rows in allowed, (step, table)
        committed = publish.recover(place)
        decided = committed is not None and committed["run_id"] == "r2"
        assert seen(place) == all_see(2 if decided else before), step
        assert leftovers(place) == []
        publish.recover(place)
        assert seen(place) == all_see(2 if decided else before), step
        outcomes.append((code, decided))
        if code == 0:
            break
    assert outcomes[0] == (9, False)  # before the commit record: forgotten
    assert outcomes[-1] == (0, True)  # the loop went through all steps
    assert (9, True) in outcomes  # after it: finished


@pytest.mark.parametrize("place", ["mounted"], indirect=True)
def test_a_failure_after_the_commit_is_finished_by_the_next_run(
    place: publish.Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(place, "r1", 1)
    staging = staged(place, "r2", 2)

    def full(*_: Any) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(exchanging, "_exchange", full)
        with pytest.raises(SinkUnwritable, match="No space left"):
            publish.promote(staging, publish.newest_commit(place), {})
        publish.discard(staging, keep_quarantine=False)
        assert seen(place) == all_see(1)
    assert publish.recover(place)["run_id"] == "r2"  # type: ignore[index]
    assert seen(place) == all_see(2)


@pytest.mark.faults
@pytest.mark.parametrize("before", [None, 1], ids=["first", "superseding"])
def test_a_store_that_fails_between_any_two_acts_leaves_old_or_new_and_the_next_run_settles_it(
    spark: SparkSession, tmp_path: Path, before: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a mounted sink; the process lives on, as it holds the JVM, but does nothing after the failure."""
    decisions = []
    for step in range(1, 40):
        place = publish.slot(f"{mounted(spark, tmp_path)}/{step}", "toy", "2026-11-22")
        if before is not None:
            published(place, "r1", before)
        base, staging = publish.newest_commit(place), staged(place, "r2", 2)
        left = [step]

        def counted(name: str, left: list[int] = left) -> None:
            real = getattr(HadoopPath, name)

            def act(self: HadoopPath, *args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] <= 0:
                    raise OSError(5, "the store is gone", str(self))
                return real(self, *args, **kwargs)

            patch.setattr(HadoopPath, name, act)

        with monkeypatch.context() as patch:
            for name in ("rename", "remove", "write_bytes", "mkdir"):
                counted(name)
            with suppress(SinkUnwritable):
                publish.promote(staging, base, {"record": {}})
        for table, rows in seen(place).items():  # a table is whole: old, new, or, between two renames, away
            assert rows in ([before] if before else [], [2], []), (step, table)
        committed = publish.recover(place)
        decided = committed is not None and committed["run_id"] == "r2"
        assert seen(place) == all_see(2 if decided else before), step
        assert leftovers(place) == []
        decisions.append(decided)
        if left[0] > 0:
            break
    assert decisions == sorted(decisions)  # forgotten up to the commit record, finished from then on
    assert (decisions[0], decisions[-1]) == (False, True)


def test_what_was_committed_and_then_removed_is_an_error_that_force_gets_past(place: publish.Slot) -> None:
    published(place, "r1", 1)
    shutil.rmtree(on_disk(place.live("predictions")))
    with pytest.raises(SinkUnwritable, match=r"no longer there.*--force"):
        publish.recover(place)
    base = publish.recover(place, force=True)
    published(place, "r2", 2, base)
    assert publish.recover(place)["run_id"] == "r2"  # type: ignore[index]
    assert seen(place) == all_see(2)


def test_a_sink_that_was_copied_elsewhere_is_still_published(place: publish.Slot, tmp_path: Path) -> None:
    published(place, "r1", 1)
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    moved = publish.slot(str(tmp_path / "copy"), "toy", "2026-11-22")
    assert publish.recover(moved)["run_id"] == "r1"  # type: ignore[index]
    assert seen(moved) == all_see(1)


def test_stale_staging_of_this_date_is_removed_and_that_of_others_left(place: publish.Slot) -> None:
    publish.open_staging(place, "r1")
    other = publish.open_staging(publish.Slot(place.root, "2026-11-23"), "r1")
    assert publish.recover(place) is None
    assert leftovers(place) == [on_disk(other.folder)]


# --- discard ---


def test_a_discarded_run_leaves_nothing(place: publish.Slot) -> None:
    assert publish.discard(staged(place, "r1", 1), keep_quarantine=False) is None
    assert leftovers(place) == []
    assert seen(place) == all_see(None)


def test_a_refused_quarantine_is_kept_beside_the_tables(place: publish.Slot) -> None:
    for value in (1, 2):  # the second attempt replaces the first
        kept = publish.discard(staged(place, "r1", value), keep_quarantine=True)
    assert kept == place.root / "refused" / "run_date=2026-11-22" / "run_id=r1"
    assert pq.read_table(on_disk(kept))["x"].to_pylist() == [2]
    assert seen(place) == all_see(None)
    assert leftovers(place) == []


# --- races ---


def test_of_many_that_put_one_file_exactly_one_wins_and_it_is_whole(tmp_path: Path) -> None:
    path, barrier, won = tmp_path / "commits" / "1.json", threading.Barrier(8), []

    def put(number: int) -> None:
        barrier.wait()
        try:
            publish.put_if_absent(path, str(number) * 10_000)
            won.append(number)
        except RunActive:
            pass

    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert path.read_text() == str(won[0]) * 10_000
    assert [p.name for p in path.parent.iterdir()] == ["1.json"]


def test_a_held_slot_refuses_a_second_run_and_is_free_afterwards(place: publish.Slot) -> None:
    with publish.lock(place):
        with pytest.raises(RunActive, match="another run for 2026-11-22"), publish.lock(place):
            pass
        with publish.lock(publish.Slot(place.root, "2026-11-23")):
            pass  # another date is another slot
    with publish.lock(place):
        pass


@pytest.mark.parametrize("place", ["mounted"], indirect=True)
def test_the_lock_dies_with_its_process(place: publish.Slot) -> None:
    child = os.fork()
    if not child:
        publish.lock(place).__enter__()
        os._exit(9)
    os.waitpid(child, 0)
    with publish.lock(place):
        pass
