"""The job as it is shipped: what the archives hold, and spark-submit with nothing but them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from batch_factory import DAY, day_of, lay_out, save_model, settings

from pipelines.java import snappy_options
from pipelines.session import code_digest
from scripts import package

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.code(tmp_path_factory.mktemp("code") / "scoreline.zip")


def in_archive(archive: Path, code: str) -> str:
    """What a Python prints that has the archive, and not the checkout, on its path."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=archive.parent, env={**os.environ, "PYTHONPATH": str(archive)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_same_sources_give_the_same_bytes(archive: Path) -> None:
    assert package.code(archive.parent / "again.zip").read_bytes() == archive.read_bytes()


def test_the_archive_holds_every_module_and_template_and_nothing_else(archive: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *package.CODE], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    names = zipfile.ZipFile(archive).namelist()
    assert set(tracked) <= set(names)
    assert {Path(n).suffix for n in names} == {".py", ".j2"}


def test_code_from_an_archive_ships_itself_to_the_workers_and_has_the_same_name(archive: Path) -> None:
    code = "from pipelines import session; print(session.__file__, session.code_digest())"
    where, digest = in_archive(archive, code).split()
    assert where.startswith(str(archive))
    assert digest == code_digest()


def test_pages_render_from_an_archive(archive: Path) -> None:
    code = (
        "from pipelines.report.pages import _environment; import zipfile, sys\n"
        f"for name in zipfile.ZipFile({str(archive)!r}).namelist():\n"
        "    if name.endswith('.j2'):\n"
        "        print(_environment().get_template(name.split('/templates/')[1]).filename)"
    )
    templates = list((ROOT / "pipelines" / "templates").rglob("*.j2"))
    assert len(in_archive(archive, code).splitlines()) == len(templates) > 5


@pytest.mark.platforms
@pytest.mark.timeout(900)
class TestOnACluster:
    """A standalone cluster, an empty folder, and what ``make package`` has written."""

    @pytest.fixture(scope="class")
    def ended(self, dist: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
        from cluster import cluster

        home = tmp_path_factory.mktemp("packaged")
        model = save_model(home / "model")
        lay_out(home / "in", day_of(400, missing=4))
        tree = settings(home, model, quality={"max_quarantined": 0.05})
        (home / "conf.yaml").write_text(yaml.safe_dump(tree))
        empty = home / "empty"
        with tarfile.open(dist / "environment.tar.gz") as packed:  # the driver's, as it runs on this machine
            packed.extractall(empty / "environment", filter="fully_trusted")  # noqa: S202 - our own archive
        with cluster(home) as up:
            done = self.submit(up.url, dist, home, empty)
        lines = done.stdout.splitlines()
        assert done.returncode == 0, done.stderr[-3000:]
        return home, json.loads(lines[-1])

    def submit(self, url: str, dist: Path, home: Path, empty: Path) -> subprocess.CompletedProcess[str]:
        from processes import SUBMIT, environment

        conf = {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.executor.memory": "512m",
            "spark.ui.enabled": "false",
            "spark.driver.extraJavaOptions": snappy_options(),
            "spark.executor.extraJavaOptions": snappy_options(),
            "spark.executorEnv.PYSPARK_PYTHON": "./environment/bin/python",
        }
        settings = [part for key, value in conf.items() if value for part in ("--conf", f"{key}={value}")]
        env = environment(home) | {
            "PYSPARK_PYTHON": "./environment/bin/python",
            "PYSPARK_DRIVER_PYTHON": str(empty / "environment" / "bin" / "python"),
        }
        return subprocess.run(
            [SUBMIT, "--master", url, "--driver-memory", "512m", *settings,
             "--py-files", str(dist / "scoreline.zip"), "--archives", f"{dist}/environment.tar.gz#environment",
             str(dist / "run_batch.py"), "--config", str(home / "conf.yaml"), "--run-date", DAY],
            cwd=empty, env={k: v for k, v in env.items() if k != "PYTHONPATH"},
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip

    def test_the_packaged_job_publishes(self, ended: tuple[Path, dict]) -> None:
        home, record = ended
        assert record["status"] == "published"
        assert record["rows"] == {"read": 400, "scored": 396, "quarantined": 4}
        scored = pd.read_parquet(home / "out" / "toy" / "predictions")
        truth = day_of(400, missing=4).dropna().set_index("id")
        expected = (truth["a"] + 2 * truth["b"]).loc[scored["id"]]
        assert (scored["prediction"].to_numpy() == expected.to_numpy()).all()

    def test_its_page_is_whole(self, ended: tuple[Path, dict]) -> None:
        page = Path(ended[1]["paths"]["report"]).read_text("utf-8")
        assert "<style>" in page
        assert page.rstrip().endswith("</html>")

    def test_the_environment_brings_libraries_and_not_this_checkout(self, dist: Path, ended) -> None:
        python = ended[0] / "empty" / "environment" / "bin" / "python"
        for module, code in (("mlflow", 0), ("pipelines", 1)):
            tried = subprocess.run(
                [python, "-P", "-c", f"import {module}"],
                cwd=ended[0] / "empty",
                capture_output=True,
                check=False,
            )
            assert tried.returncode == code, module
        with tarfile.open(dist / "environment.tar.gz") as packed:
            assert not [m.name for m in packed if m.name.endswith(".jar") and "/pyspark/" in m.name]
