"""Lay the job out as a cluster takes it: ``dist/`` with the code, the entry scripts and an environment.

    python -m scripts.package                            # all three
    python -m scripts.package --no-environment           # the code alone, in an instant
    python -m scripts.package --requirements FILE        # an environment that honours a model's own pins

The code goes to ``--py-files``, an entry is what spark-submit starts, the environment goes to ``--archives``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ("pipelines", "jobs")
DOORS = ("run_batch", "evaluate", "init_pipeline")
ENTRY = '''"""Starts jobs.{door} from scoreline.zip: spark-submit wants a file."""

from jobs.{door} import main

if __name__ == "__main__":
    main()
'''
LOCK = "requirements.lock"
# The cluster's own Spark is what runs: the archive carries PySpark's Python, not half a gigabyte of jars.
LEFT_OUT = ("*/pyspark/jars/*", "*/pyspark/examples/*", "*/__pycache__/*")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the packages and say what they are."""
    parser = argparse.ArgumentParser(prog="package", description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--build", type=Path, default=ROOT / "build", help="where environments are made and kept"
    )
    parser.add_argument("--requirements", type=Path, help="pins of a model, from its requirements.txt")
    parser.add_argument("--no-environment", dest="environment", action="store_false")
    options = parser.parse_args(arguments)
    options.into.mkdir(parents=True, exist_ok=True)
    written = [code(options.into / "scoreline.zip"), *entries(options.into)]
    if options.environment:
        made = environment(options.build, options.requirements)
        written.append(packed(made, options.into / "environment.tar.gz"))
    for path in written:
        print(f"package: {path} ({path.stat().st_size / 1e6:.1f} MB)")


def code(target: Path) -> Path:
    """The packages with their templates; the same sources give the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(f for name in CODE for f in (ROOT / name).rglob("*") if f.is_file()):
            if "__pycache__" not in file.parts:
                entry = zipfile.ZipInfo(str(file.relative_to(ROOT)))
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, file.read_bytes())
    return target


def entries(into: Path) -> list[Path]:
    """One small script for each door."""
    paths = [into / f"{door}.py" for door in DOORS]
    for path in paths:
        path.write_text(ENTRY.format(door=path.stem), "utf-8")
    return paths


def environment(build: Path, model: Path | None = None) -> Path:
    """An environment of its own with what is locked, or with the ranges and a model's pins; kept for the next time."""
    wanted = [ROOT / "setup.cfg", model] if model else [ROOT / LOCK]
    stamp = hashlib.sha256("\0".join([sys.version, *(f.read_text("utf-8") for f in wanted)]).encode())
    place = build / f"environment-{stamp.hexdigest()[:12]}"
    if not (place / "complete").exists():
        what = (
            ["-r", str(model), "-r", str(ROOT / "setup.cfg")] if model else ["--require-hashes", "-r", LOCK]
        )
        shutil.rmtree(place, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(place))
        _uv("pip", "install", "--python", str(place / "bin" / "python"), *what)
        (place / "complete").touch()
    return place


def packed(place: Path, target: Path) -> Path:
    """A relocatable archive of an environment."""
    target.unlink(missing_ok=True)
    exclude = [part for pattern in LEFT_OUT for part in ("--exclude", pattern)]
    _run(sys.executable, "-m", "venv_pack", "--quiet", "-p", str(place), "-o", str(target),
         "--compress-level", "3", *exclude)  # fmt: skip
    target.chmod(0o644)  # executors fetch it as another user
    return target


def _uv(*arguments: str) -> None:
    _run(sys.executable, "-m", "uv", "--quiet", "--system-certs", *arguments)


def _run(*command: str) -> None:
    outside = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    if (done := subprocess.run(command, cwd=ROOT, env=outside, check=False)).returncode:
        sys.exit(f"package: {' '.join(command[1:4])} … failed with {done.returncode} (above).")


if __name__ == "__main__":
    main()
