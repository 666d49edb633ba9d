"""Each reason of the quarantine is counted over all rows and shown by a few."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import quarantine_summary
from pipelines.quarantine_summary import PER_REASON, summary


def lay_down(folder: Path, *files: list[list[str]], row_group: int = 1000) -> list[Path]:
    """One quarantine file for each list of rows; a row is the list of its reasons."""
    paths = []
    for n, rows in enumerate(files):
        table = pa.table(
            {
                "id": pa.array(range(len(rows)), pa.int64()),
                "a": pa.array([None if i % 2 else float(i) for i in range(len(rows))]),
                "raw_record": pa.nulls(len(rows), pa.string()),
                "source_file": [f"in{n}.csv"] * len(rows),
                "stage": ["input"] * len(rows),
                "reasons": pa.array(rows, pa.list_(pa.string())),
                "model_id": ["toy/1"] * len(rows),
            }
        )
        paths.append(folder / f"part-{n}.parquet")
        pq.write_table(table, paths[-1], row_group_size=row_group)
    return paths


def test_a_rare_reason_is_shown_however_late_it_comes(tmp_path: Path) -> None:
    files = lay_down(tmp_path, [["common"]] * 5000, [["common"]] * 50 + [["rare"]])
    counts, examples = summary(files)
    assert counts == {"common": 5050, "rare": 1}
    assert [e["reasons"] for e in examples] == [["common"], ["common"], ["rare"]]
    assert examples[-1] == {
        "stage": "input",
        "reasons": ["rare"],
        "source_file": "in1.csv",
        "row": {"id": 50, "a": 50.0},
    }


def test_warnings_send_no_row_away_and_are_not_counted(tmp_path: Path) -> None:
    counts, _ = summary(lay_down(tmp_path, [["rule", "warned"], ["rule"]]), {"warned"})
    assert counts == {"rule": 2}


def test_reasons_that_are_all_different_give_a_bounded_number_of_examples(tmp_path: Path) -> None:
    counts, examples = summary(lay_down(tmp_path, [[f"ValueError: {n}"] for n in range(3000)]))
    assert len(counts) == 3000
    assert len(examples) == quarantine_summary.EXAMPLES


def test_an_empty_quarantine_has_nothing_to_show(tmp_path: Path) -> None:
    assert summary(lay_down(tmp_path, [])) == summary([]) == ({}, ())


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True), max_size=40))
def test_every_reason_is_counted_exactly_and_shown_once_at_least(
    rows: list[list[str]], tmp_path_factory: Any
) -> None:
    counts, examples = summary(lay_down(tmp_path_factory.mktemp("q"), rows, row_group=7))
    assert counts == Counter(reason for row in rows for reason in row)
    shown = Counter(reason for e in examples for reason in e["reasons"])
    assert all(shown[reason] >= min(PER_REASON, n) for reason, n in counts.items())
    assert len(examples) <= PER_REASON * len(counts)


def test_a_cell_for_which_python_has_no_value_is_still_shown(tmp_path: Path) -> None:
    broken = pa.array([b"\xff\xfe", b"ok"]).view(pa.string())
    days = pa.array([2**31 - 1, 0], pa.int32()).view(pa.date32())
    moments = pa.array([2**62, 0], pa.int64()).view(pa.timestamp("us"))
    table = pa.table(
        {
            "text": broken,
            "day": days,
            "at": moments,
            "raw_record": pa.nulls(2, pa.string()),
            "source_file": ["f", "f"],
            "stage": ["input", "input"],
            "reasons": pa.array([["r"], ["r"]]),
            "model_id": ["m/1", "m/1"],
        }
    )
    pq.write_table(table, tmp_path / "q.parquet")
    counts, examples = summary([tmp_path / "q.parquet"], set())
    assert counts == {"r": 2}
    assert examples[0]["row"]["text"] == "\ufffd\ufffd"
    assert examples[0]["row"]["day"] == str(2**31 - 1)
    assert examples[0]["row"]["at"] == str(2**62)
