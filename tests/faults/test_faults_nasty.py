"""Whole runs over files made to break readers: all their rows, or a refusal by name that publishes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from batch_factory import DAY, data_files
from model_factory import save, signature
from places import Place, leftovers

from pipelines.errors import ScorelineError

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
NASTY = Path(__file__).parents[1] / "data" / "nasty"
REFUSALS = {66, 70, 78}
PARQUET = sorted(p.name for p in (NASTY / "parquet").glob("*.parquet"))
BROKEN = {
    "ARROW-GH-41317.parquet",
    "ARROW-GH-41321.parquet",
    "ARROW-GH-47662.parquet",
    "ARROW-RS-GH-6229-DICTHEADER.parquet",
    "ARROW-RS-GH-6229-LEVELS.parquet",
    "PARQUET-1481.parquet",
    "datapage_v1-corrupt-checksum.parquet",
    "incorrect_map_schema.parquet",
}


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of one optional input that none of the files has, so that it scores each of them."""
    from sklearn.dummy import DummyClassifier

    features = pd.DataFrame({"absent": [None, 1.0]})
    model = DummyClassifier(strategy="constant", constant=1).fit(features, np.array([0, 1]))
    folder = tmp_path_factory.mktemp("constant") / "constant"
    return save(model, folder, signature({"absent": "double?"}, {"prediction": "long"}), form="skops")


def outcome(place: Place, **source: Any) -> tuple[int, dict[str, int], str]:
    """Exit code, rows and complaint of a run that carries every column, and so decodes it."""
    sections = {"quality": {"max_quarantined": 1.0}, "drift": {"baseline": "none"}}
    try:
        record = place.run(source={"key": [], **source}, **sections)
    except ScorelineError as error:
        assert data_files(place.root) == []
        assert leftovers(place.root) == []
        return error.exit_code, {}, error.message
    return record.exit_code, record.rows, ""


@pytest.mark.parametrize("name", PARQUET)
def test_a_nasty_parquet_file_gives_all_its_rows_or_is_refused_by_name(
    place: Place, constant: str, name: str
) -> None:
    place.model = constant
    file = NASTY / "parquet" / name
    try:
        metadata = pq.read_metadata(file)
        rows, columns = metadata.num_rows, metadata.schema.to_arrow_schema().names
    except (OSError, ValueError):
        rows, columns = 0, []
    code, found, complaint = outcome(place, path=str(file), carry=columns)
    if code:
        assert code in REFUSALS
        assert name in complaint or "rows do not add up" in complaint
    else:
        assert name not in BROKEN
        assert found["read"] == rows == found["scored"] + found["quarantined"]
        tables = [place.root / name / f"run_date={DAY}" for name in ("predictions", "quarantine")]
        assert sum(pq.ParquetDataset(table).read(["run_id"]).num_rows for table in tables) == rows


CSV = sorted(p.stem for p in (NASTY / "csv").glob("*.csv"))
REPLACED = {"location_coordinates"}  # the file itself holds U+FFFD where a degree sign was


@pytest.mark.parametrize("whole", [False, True], ids=["by line", "multiLine"])
@pytest.mark.parametrize("name", CSV)
def test_a_nasty_csv_file_is_published_right_or_not_at_all(
    place: Place, constant: str, name: str, whole: bool
) -> None:
    place.model = constant
    loaded = json.loads((NASTY / "csv_expected" / f"{name}.json").read_text("utf-8"))
    expected = loaded if isinstance(loaded, list) else [loaded]
    path, columns = str(NASTY / "csv" / f"{name}.csv"), list(expected[0])
    code, found, complaint = outcome(
        place, format="csv", path=path, carry=columns, options={"multiLine": whole}
    )
    assert code == 0, complaint
    rows = place.table()[columns].fillna("").to_dict("records")  # an empty field is NULL
    assert all(row in expected for row in rows)
    assert found == {"read": found["read"], "scored": len(rows), "quarantined": found["read"] - len(rows)}
    if whole and name not in REPLACED:
        assert len(rows) == len(expected) == found["read"]
