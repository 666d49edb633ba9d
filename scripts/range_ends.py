"""Run a part of the tests with the lowest, or the newest, libraries that the ranges in ``setup.cfg`` allow.

    python -m scripts.range_ends lowest | newest

The part is what calls the libraries most: whole runs by both engines with suites, pages and exports, all flavors, the
registry, workers, Parquet and tracking. Environments are resolved by uv and kept below ``build/`` until ``setup.cfg``
changes; newest is resolved anew each day. An environment that cannot be made is a failure, never a part left out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESOLUTION = {"lowest": "lowest-direct", "newest": "highest"}
EXTRAS = ("models", "openlineage", "opentelemetry", "prometheus", "test")
TESTS = (
    "tests/test_batch.py",
    "tests/test_expectations.py",
    "tests/test_flavors.py",
    "tests/test_observability.py",
    "tests/test_registry.py",
    "tests/test_report.py",
    "tests/test_scan.py::test_both_engines_publish_the_same_rows",
    "tests/test_scan_csv_runs.py::test_both_engines_publish_the_same_rows_of_dirty_files",
    "tests/test_scoring_worker.py",
    "tests/test_source_parquet.py",
    "tests/test_tracking.py",
)
TOLD = ("pyspark", "mlflow", "great-expectations", "pandas", "numpy", "pyarrow", "scikit-learn")


def main(end: str) -> None:
    """Make the environment and run the tests; leaves with pytest's exit code."""
    python = environment(end)
    told = (
        "import importlib.metadata as m, sys; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    )
    subprocess.run([python, "-c", told, *TOLD], check=True)
    outside = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"} | {"PYSPARK_PYTHON": str(python)}
    arguments = ["-m", "not faults and not platforms and not scale", *sys.argv[2:]]
    sys.exit(
        subprocess.run(
            [python, "-m", "pytest", *TESTS, *arguments], cwd=ROOT, env=outside, check=False
        ).returncode
    )


def environment(end: str) -> Path:
    """The interpreter of an environment with all extras that tests need, at one end of the ranges."""
    parts = [sys.version, *((ROOT / n).read_text("utf-8") for n in ("setup.cfg", "requirements-java.lock"))]
    parts += [datetime.now(UTC).date().isoformat()] if end == "newest" else []
    place = ROOT / "build" / f"{end}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        for old in place.parent.glob(f"{end}-*"):
            shutil.rmtree(old)
        _uv("venv", "--python", sys.executable, str(place))
        extras = [word for extra in EXTRAS for word in ("--extra", extra)]
        install = ("pip", "install", "--python", str(python))
        _uv(*install, "--resolution", RESOLUTION[end], "-r", "setup.cfg", *extras)
        _uv(*install, "-r", "requirements-java.lock")  # as `make` does, for a machine without a Java
        (place / "complete").touch()
    return python


def _uv(*arguments: str) -> None:
    command = [sys.executable, "-m", "uv", "--quiet", "--system-certs", *arguments]
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(
            f"range ends: the environment could not be made, `uv {' '.join(arguments[:2])}` ended with {code} and "
            "said why above. Is the package index reachable, and can the ranges in setup.cfg be met together?"
        )


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in RESOLUTION:
        sys.exit("usage: python -m scripts.range_ends lowest | newest [pytest's options]")
    main(sys.argv[1])
