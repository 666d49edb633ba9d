"""Inputs that are cut, flipped, exchanged or of another shape: a refusal that publishes nothing, or the right rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_factory import DAY, data_files, day_of, suite
from places import Place, interposed, leftovers, published

from pipelines import publish
from pipelines.errors import ScorelineError

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
NEXT = "2026-11-23"
REFUSALS = {65, 66, 70, 78}
TYPED = {"format": "csv", "types": {"id": "bigint"}}
Change = Callable[[pd.DataFrame], pd.DataFrame]


def give_csv(place: Place, frame: pd.DataFrame, day: str = DAY) -> Path:
    file = place.home / "in" / day / "part.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(file, index=False)
    return file


def attempt(place: Place, day: str, **more: Any) -> tuple[int, str]:
    """Exit code and message; a run that fails leaves no part of the date and no staging."""
    try:
        record = place.run(day, **more)
    except ScorelineError as error:
        assert not [f for f in data_files(place.root) if f"run_date={day}" in str(f)]
        assert leftovers(place.root) == []
        return error.exit_code, error.message
    assert record.rows["read"] == record.rows["scored"] + record.rows["quarantined"]
    return record.exit_code, " ".join(record.warnings)


# --- schema drift, from one date to the next ---

DRIFTS: dict[str, tuple[Change, int, str]] = {
    "a column more": (lambda f: f.assign(c="new"), 0, ""),
    "columns in another order": (lambda f: f[["b", "id", "a"]], 0, ""),
    "a column less": (lambda f: f.drop(columns="b"), 78, "column 'b' is missing"),
    "a column of another name": (lambda f: f.rename(columns={"b": "B_new"}), 78, "column 'b' is missing"),
    "a key of another name": (lambda f: f.rename(columns={"id": "key"}), 78, "column 'id'"),
    "a name of another case": (
        lambda f: f.rename(columns={"a": "A"}),
        78,
        "column 'a' is missing; near: 'A'",
    ),
}
PARQUET_DRIFTS: dict[str, tuple[Change, int, str]] = {
    "text for a number": (lambda f: f.assign(a=f["a"].astype(str)), 78, "'a'"),
    "a narrower number": (lambda f: f.assign(a=f["a"].astype("float32"), b=f["b"].astype("float32")), 0, ""),
    "an integer for a double": (lambda f: f.assign(a=1), 0, ""),
    "a time for a double": (lambda f: f.assign(a=pd.Timestamp("2026-01-01")), 78, "'a'"),
    "lists for a double": (lambda f: f.assign(a=[[v] for v in f["a"]]), 78, "'a'"),
    "nothing but NULL": (lambda f: f.assign(a=None), 65, "required(a)"),
}
CSV_DRIFTS: dict[str, tuple[Change, int, str]] = {
    "text for a number": (lambda f: f.assign(a="high"), 65, "malformed_record"),
    "a comma for the decimal point": (lambda f: f.assign(a="1,5"), 65, "malformed_record"),
}


def model_of(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """What a reader must find of a day: a + 2 b by key."""
    values = frame["a"].astype("float64") + 2 * frame["b"].astype("float64")
    return sorted(zip(frame["id"].astype(str), values.astype(str), strict=True))


@pytest.mark.parametrize(
    ("kind", "case"),
    [("parquet", c) for c in DRIFTS | PARQUET_DRIFTS] + [("csv", c) for c in DRIFTS | CSV_DRIFTS],
)
def test_a_date_whose_schema_drifted_is_published_right_or_refused_in_words(
    place: Place, kind: str, case: str
) -> None:
    table = DRIFTS | (PARQUET_DRIFTS if kind == "parquet" else CSV_DRIFTS)
    change, code, words = table[case]
    source = {"source": TYPED} if kind == "csv" else {}
    frame = change(day_of(60))
    if kind == "csv":
        give_csv(place, frame, NEXT)
    else:
        place.give(frame, NEXT)
    found, said = attempt(place, NEXT, **source)
    assert (found, words in said) == (code, True), said
    if code == 0:
        seen = place.table(day=NEXT)
        assert sorted(zip(seen["id"].astype(str), seen["prediction"].astype(str), strict=True)) == model_of(
            frame
        )


# --- files that rot ---


def write_with_checksums(place: Place, frame: pd.DataFrame) -> Path:
    file = place.home / "in" / DAY / "part.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, file, write_page_checksum=True, use_dictionary=False, row_group_size=500)
    return file


def flip(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(4, len(content) - 4)
    return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


@pytest.mark.parametrize("damage", [flip, cut], ids=["a bit flipped", "cut short"])
def test_a_rotten_parquet_file_with_checksums_is_never_published_as_something_else(
    place: Place, chance: random.Random, damage: Any
) -> None:
    frame = day_of(2000, missing=3)
    file = write_with_checksums(place, frame)
    assert attempt(place, DAY)[0] == 0
    clean, whole = published(place.root), file.read_bytes()
    refused = 0
    for number in range(6):
        day = f"2026-12-{number + 1:02d}"
        file.write_bytes(damage(whole, chance))
        code, said = attempt(place, day, source={"path": str(file)})
        if code:
            assert code in REFUSALS, said
            refused += 1
        else:  # the flip was in what nobody reads, such as statistics
            assert published(place.root, day) == clean
    assert refused


def test_a_csv_file_cut_anywhere_loses_at_most_its_last_record_and_says_so(
    place: Place, chance: random.Random
) -> None:
    file = give_csv(place, day_of(200))
    whole = file.read_bytes()
    attempt(place, DAY, source=TYPED)
    clean = set(published(place.root)[0])
    header = whole.index(b"\n") + 1
    for number in range(5):
        day, at = f"2026-12-{number + 1:02d}", chance.randrange(header + 1, len(whole))
        file.write_bytes(whole[:at])
        code, said = attempt(place, day, source=TYPED | {"path": str(file)}, quality={"max_quarantined": 1.0})
        assert code == 0, said
        scored, refused = published(place.root, day)
        assert len(scored) + len(refused) == len(whole[:at].splitlines()) - 1
        assert len(set(scored) - clean) + len(refused) <= 1
        assert whole[:at].endswith(b"\n") or "perhaps cut short" in said


# --- files that change while they are read ---


def test_an_input_file_removed_during_a_run_exits_66_and_the_run_ends_well_when_it_is_back(
    place: Place,
) -> None:
    folder = place.give(day_of(100)) / DAY
    kept = (folder / "part.parquet").read_bytes()
    with interposed(publish, "open_staging", (folder / "part.parquet").unlink):
        place.fails(66, r"part\.parquet")
    (folder / "part.parquet").write_bytes(kept)
    assert place.run().rows["scored"] == 100


def test_an_input_file_that_arrives_during_a_run_is_no_part_of_it(place: Place) -> None:
    folder = place.give(day_of(100)) / DAY
    late = pa.Table.from_pandas(day_of(7), preserve_index=False)
    with interposed(publish, "open_staging", lambda: pq.write_table(late, folder / "late.parquet")):
        assert place.run().rows == {"read": 100, "scored": 100, "quarantined": 0}
    assert len(place.table()) == 100


def test_an_input_file_that_is_replaced_by_another_during_a_run_publishes_nothing(place: Place) -> None:
    folder = place.give(day_of(100)) / DAY
    other = pa.Table.from_pandas(day_of(60), preserve_index=False)
    with interposed(publish, "open_staging", lambda: pq.write_table(other, folder / "part.parquet")):
        code, said = attempt(place, DAY)
    assert code in REFUSALS, said
    assert place.run().rows["read"] == 60


# --- keys and values ---


def test_duplicate_and_missing_keys_are_published_as_they_are(place: Place) -> None:
    frame = day_of(50).assign(id=pd.array(range(50), "Int64"))
    frame.loc[:2, "id"] = pd.NA
    place.give(pd.concat([frame, frame[10:20]]))
    assert place.run().rows == {"read": 60, "scored": 60, "quarantined": 0}
    found = place.table()
    assert (len(found), found["id"].nunique(), found["id"].isna().sum()) == (60, 47, 3)


def test_duplicate_keys_refuse_the_date_where_an_expectation_forbids_them(place: Place) -> None:
    frame = day_of(50)
    place.give(pd.concat([frame, frame[10:20]]))
    rule = {
        "type": "expect_column_values_to_be_unique",
        "kwargs": {"column": "id"},
        "severity": "critical",
    }
    quality = {"input": suite(place.home, "in", rule)}
    place.fails(65, "expect_column_values_to_be_unique", quality=quality)
    place.give(frame)
    assert place.run(quality=quality).rows["scored"] == 50


def test_numbers_at_the_edge_of_what_there_is_are_scored_as_the_model_scores_them(place: Place) -> None:
    edge = [
        -0.0,
        5e-324,
        1.7976931348623157e308,
        np.nextafter(1, 2),
        float("inf"),
        float("-inf"),
        float("nan"),
    ]
    place.give(pd.DataFrame({"id": range(len(edge)), "a": edge, "b": 0.0}))
    record = place.run(quality={"max_quarantined": 1.0}, drift={"baseline": "none"})
    assert record.rows == {"read": 7, "scored": 4, "quarantined": 3}
    found = place.table().sort_values("id")
    assert found["id"].tolist() == [0, 1, 2, 3]
    assert (found["prediction"].to_numpy() == np.array(edge[:4])).all()
