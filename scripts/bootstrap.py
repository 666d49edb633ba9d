"""Set up ``.venv`` so that it alone runs the project: locked packages, Java, the settings of Spark.

    python3 scripts/bootstrap.py requirements-dev.lock

Runs on a bare Python; ``make`` calls it before every target. What is in place is not done again: a stamp in
the environment says which lock file, interpreter and place it was made from.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
JAVA_LOCK = ROOT / "requirements-java.lock"
# Each of these is installed wherever the one on the left is.
INCLUDES = {"requirements-dev.lock": ["requirements.lock"]}
INPUTS = ["setup.cfg", "pyproject.toml", "requirements-java.lock", "scripts/bootstrap.py"]

SPARK_ENV = """# Written by scripts/bootstrap.py. Sourced whenever Spark starts a JVM.
PYSPARK_PYTHON="${{PYSPARK_PYTHON:-{python}}}"
eval "$('{python}' -m pipelines.java)"
"""
# Executors that are processes of their own; a user's --conf replaces this line.
SPARK_DEFAULTS = """# Written by scripts/bootstrap.py.
spark.executor.extraJavaOptions {options}
"""


def main(lock_name: str) -> None:
    """Make the environment hold what the lock file says, a Java that runs Spark, and Spark's settings."""
    if _stamp(lock_name).exists():
        return
    started = time.monotonic()
    if not _environment_works():
        _say("creating .venv")
        _create_environment()
    _say(f"installing {lock_name} (several minutes the first time)")
    _pip("install", "--require-hashes", "-r", lock_name)
    _pip("install", "--no-deps", "--no-build-isolation", "-e", ".")
    _ensure_java()
    _configure_spark()
    for name in [lock_name, *INCLUDES.get(lock_name, [])]:
        _write_stamp(name)
    _say(f"ready after {time.monotonic() - started:.0f} s")


def _stamp(lock_name: str) -> Path:
    parts = [sys.version, str(ENVIRONMENT)] + [(ROOT / f).read_text() for f in [lock_name, *INPUTS]]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return ENVIRONMENT / "stamps" / f"{lock_name}-{key}"


def _write_stamp(lock_name: str) -> None:
    stamp = _stamp(lock_name)
    stamp.parent.mkdir(exist_ok=True)
    for old in stamp.parent.glob(f"{lock_name}-*"):
        old.unlink()
    stamp.touch()


def _environment_works() -> bool:
    """Whether ``.venv`` starts, was made here (a copied one was not) and by this version of Python."""
    code = "import sys, pip; print(sys.prefix, sys.version, sep='\\n', end='')"
    try:
        said = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    script = (ENVIRONMENT / "bin" / "pip").read_text(errors="replace")
    return said == f"{ENVIRONMENT}\n{sys.version}" and f"{ENVIRONMENT}/bin/" in script


def _create_environment() -> None:
    try:
        venv.create(ENVIRONMENT, clear=True, with_pip=True, symlinks=True)
    except (subprocess.CalledProcessError, ImportError):
        sys.exit(
            f"bootstrap: {sys.executable} cannot create a virtual environment with pip.\n"
            "bootstrap: install its venv module (Debian, Ubuntu: apt-get install python3-venv), try again."
        )


def _ensure_java() -> None:
    if _java().returncode == 0:
        return
    _say("no Java 17 or 21 here: installing one into .venv")
    _pip("install", "--require-hashes", "-r", JAVA_LOCK.name)
    settled = _java()
    if settled.returncode:
        sys.exit(f"bootstrap: {settled.stderr.strip()}")


def _java() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYTHON, "-m", "pipelines.java"], cwd=ROOT, capture_output=True, text=True, check=False
    )


def _configure_spark() -> None:
    """Give the environment's Spark its settings, so that a plain spark-submit runs as the make targets do."""
    folder = Path(_output("import pyspark; print(pyspark.__path__[0])")) / "conf"
    folder.mkdir(exist_ok=True)
    (folder / "spark-env.sh").write_text(SPARK_ENV.format(python=PYTHON))
    options = _output("from pipelines.java import snappy_options; print(snappy_options())")
    (folder / "spark-defaults.conf").write_text(SPARK_DEFAULTS.format(options=options) if options else "")


def _output(code: str) -> str:
    done = subprocess.run([PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _pip(*arguments: str) -> None:
    options = ["--quiet", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run(
        [PYTHON, "-m", "pip", *arguments, *options], cwd=ROOT, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        sys.exit(f"bootstrap: pip {' '.join(arguments)} failed (above). It is safe to run make again.")


def _say(text: str) -> None:
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        sys.exit(
            f"bootstrap: found Python {sys.version.split()[0]}, expected 3.11 to 3.13:"
            " make PYTHON=/path/to/python3.12 …"
        )
    if len(sys.argv) != 2:
        sys.exit("usage: bootstrap.py requirements.lock | requirements-dev.lock")
    main(sys.argv[1])
