"""Ten times the rows take no more memory: each run is a process of its own, as peaks are for life."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from scripts.bench import inputs
from scripts.bench.cases import Case

ROOT = Path(__file__).resolve().parent.parent
# Of the peak over a tenth of the rows, and MB: batches have their size from the first row group on, while the JVM takes
# of its heap what it is given.
BOUNDS = {"peak_worker_rss_mb": (1.1, 40), "driver_peak_mb": (1.1, 40), "jvm_peak_mb": (1.5, 100)}


def peaks(case: Case) -> dict[str, float]:
    """Peaks of the audited run, in MB."""
    inputs.prepare(case)
    asked = [sys.executable, "-m", "scripts.bench.scale", json.dumps(asdict(case))]
    done = subprocess.run(asked, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=3600, check=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return {key: round(found[key]) for key in BOUNDS}


@pytest.mark.scale
@pytest.mark.parametrize(("form", "rows"), [("parquet", 20_000_000), ("csv", 4_000_000)])
def test_peaks_do_not_grow_with_rows(form: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # data is kept below build/
    few, many = (peaks(Case(form=form, columns=5, rows=n)) for n in (rows // 10, rows))
    grown = {key for key, (factor, more) in BOUNDS.items() if many[key] > factor * few[key] + more}
    assert not grown, f"{rows // 10} rows: {few}; {rows} rows: {many}"
    sys.stdout.write(f"\n{form}: {few} {many}\n")
