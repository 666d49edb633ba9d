"""Workers' files: encoded by what is in them; and workers keep the memory that they have freed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.scoring.writing import writer

N = 5000
KEYS = np.random.default_rng(7).permutation(N * 10)[:N]

CASES = [
    ("whole numbers that are keys", pa.array(KEYS), False),
    ("texts that are keys", pa.array([f"k-{k}" for k in KEYS]), False),
    ("numbers that differ", pa.array(KEYS / 7), False),
    ("lists of numbers", pa.array([[k, 1 - k] for k in KEYS / 7]), False),
    ("labels", pa.array(KEYS % 3), True),
    ("words", pa.array([f"w-{k % 50}" for k in KEYS]), True),
    ("truth values", pa.array(KEYS % 2 == 0), False),  # Parquet has no dictionary of these
    ("one value", pa.DictionaryArray.from_arrays(np.zeros(N, np.int32), pa.array(["model"])), True),
    ("NULL alone", pa.nulls(N, pa.int64()), True),
]


@pytest.mark.parametrize(("array", "wanted"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_column_has_a_dictionary_where_its_values_repeat(
    tmp_path: Path, array: pa.Array, wanted: bool
) -> None:
    batch = pa.RecordBatch.from_arrays([array], ["x"])
    with writer(tmp_path / "x.parquet", batch) as file:
        file.write_batch(batch)
    column = pq.read_metadata(tmp_path / "x.parquet").row_group(0).column(0)
    assert column.has_dictionary_page is wanted
    read = pq.read_table(tmp_path / "x.parquet")["x"].combine_chunks()
    plain = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    assert read.to_pylist() == plain.to_pylist()


def test_a_dictionary_of_one_is_a_column_of_texts_to_readers(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_arrays([CASES[7][1]], ["model_id"])
    with writer(tmp_path / "x.parquet", batch) as file:
        file.write_batch(batch)
    assert pq.read_schema(tmp_path / "x.parquet").field("model_id").type == pa.string()


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_arrays([c[1] for c in CASES], [str(i) for i in range(len(CASES))])
    for name in ("a", "b"):
        with writer(tmp_path / name, batch) as file:
            file.write_batch(batch)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


_FAULTS = """
import resource, sys
import numpy as np
from pipelines.scoring.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
    import pyarrow as pa
    assert pa.default_memory_pool().backend_name == "system"
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        blocks = [np.ones(60_000) for _ in range(20)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages()
print(pages())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
def test_memory_that_was_freed_is_not_asked_of_the_system_again() -> None:
    def pages(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert pages("kept") < 100 < pages("as it comes")
