"""`model.environment`: workers as they are, workers that are checked, workers in an environment of their own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn
import yaml
from batch_factory import DAY, configure, day_of, lay_out, save_model, settings

from pipelines import archives, load_config, run_batch
from pipelines.errors import ConfigInvalid
from pipelines.failures import explained
from pipelines.model_files import read_folder, saved_with

ROOT = Path(__file__).resolve().parents[2]
HERE = {"python": platform.python_version(), "scikit-learn": sklearn.__version__}
OTHER = "1.7.2"  # a scikit-learn that is not the locked one
pytestmark = pytest.mark.platforms


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lay_out(tmp_path / "in", day_of(100))
    return tmp_path


def saved_elsewhere(model: Path, home: Path, **versions: str) -> Path:
    """A copy of the model that says it was saved with other versions."""
    copy = home / "elsewhere"
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    for name, (file, form) in {
        "python": ("python_env.yaml", "python: {}"), "sklearn": ("requirements.txt", "scikit-learn=={}")
    }.items():  # fmt: skip
        here = HERE["scikit-learn" if name == "sklearn" else name]
        text = (copy / file).read_text()
        assert form.format(here) in text
        if name in versions:
            (copy / file).write_text(text.replace(form.format(here), form.format(versions[name])))
    return copy


def test_a_model_tells_what_it_was_saved_with(model: Path) -> None:
    assert saved_with(read_folder(model, "uri")) == HERE


def test_a_model_that_tells_nothing_asks_for_nothing(model: Path, home: Path) -> None:
    copy = saved_elsewhere(model, home)
    (copy / "python_env.yaml").unlink()
    (copy / "requirements.txt").write_text("numpy\n")
    assert saved_with(read_folder(copy, "uri")) == {}


@pytest.mark.parametrize("engine", ["scan", "udf"])
def test_check_refuses_workers_unlike_the_model_and_names_found_expected_and_remedy(
    spark, model: Path, home: Path, engine: str
) -> None:
    major, minor, *_ = HERE["scikit-learn"].split(".")
    wanted = f"{major}.{int(minor) + 1}.0"
    copy = saved_elsewhere(model, home, sklearn=wanted, python="3.9.1")
    path = configure(home, copy, scoring={"engine": engine})
    config = load_config(path, run_date=DAY, overrides=["model.environment=check"])
    with pytest.raises(ConfigInvalid) as caught:
        run_batch(config, spark)
    assert f"python {HERE['python']}, expected 3.9.1" in caught.value.message
    assert f"scikit-learn {HERE['scikit-learn']}, expected {wanted}" in caught.value.message
    assert "model.environment: archive" in caught.value.hint
    assert not list((home / "out" / "toy").glob("predictions/*"))


@pytest.mark.parametrize(("environment", "versions"), [("check", {}), ("inherit", {"python": "3.9.1"})])
def test_workers_are_taken_that_match_or_need_not(
    spark, model: Path, home: Path, environment: str, versions: dict[str, str]
) -> None:
    copy = saved_elsewhere(model, home, **versions)
    config = load_config(configure(home, copy), run_date=DAY, overrides=[f"model.environment={environment}"])
    assert run_batch(config, spark).status == "published"


@pytest.mark.parametrize("overrides", [["model.environment=archive"], ["model.archive=env.tar.gz"]])
def test_an_archive_and_its_use_go_together(model: Path, home: Path, overrides: list[str]) -> None:
    with pytest.raises(ConfigInvalid, match="go together"):
        load_config(configure(home, model), run_date=DAY, overrides=overrides)


def test_a_running_session_without_the_archive_is_refused_with_the_way_to_start_one(
    spark, model: Path, home: Path
) -> None:
    overrides = ["model.environment=archive", "model.archive=/packed/env.tar.gz"]
    config = load_config(configure(home, model), run_date=DAY, overrides=overrides)
    with pytest.raises(ConfigInvalid, match=r"--archives /packed/env.tar.gz#environment"):
        run_batch(config, spark)


def test_an_archive_that_is_not_there_is_said_before_spark_starts() -> None:
    with pytest.raises(ConfigInvalid, match=r"no file '/nowhere/env.tar.gz'"):
        archives.settings("/nowhere/env.tar.gz")


def test_where_the_environment_stands_does_not_count_as_other_work(model: Path, home: Path) -> None:
    path = configure(home, model)
    plain, checked = (load_config(path, run_date=DAY, overrides=o) for o in ([], ["model.environment=check"]))
    assert plain.digest() == checked.digest()


def test_another_python_in_the_workers_is_a_matter_of_configuration() -> None:
    from pyspark.errors import PySparkRuntimeError

    with (
        pytest.raises(
            ConfigInvalid, match=r"would run Python 3\.12, but the driver is Python 3\.11.*PYSPARK_PYTHON"
        ),
        explained(),
    ):
        raise PySparkRuntimeError(
            errorClass="PYTHON_VERSION_MISMATCH",
            messageParameters={"worker_version": "3.12", "driver_version": "3.11"},
        )


@pytest.mark.platforms
@pytest.mark.timeout(900)
class TestAnEnvironmentOfItsOwn:
    """Real environments: the driver's, and one with another scikit-learn that a model asks for."""

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        home = tmp_path_factory.mktemp("own")
        lay_out(home / "in", day_of(200))
        return home

    @pytest.fixture(scope="class")
    def own(self, place: Path) -> Path:
        """An environment that honours the pin, in which the model was also saved."""
        from scripts import package

        pins = place / "requirements.txt"
        pins.write_text(f"scikit-learn=={OTHER}\n")
        made = package.environment(ROOT / "build", pins)
        model = str(place / "model")
        code = f"from pathlib import Path; from batch_factory import save_model; save_model(Path({model!r}))"
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        subprocess.run([made / "bin" / "python", "-c", code], env=env, cwd=ROOT, check=True)
        assert f"scikit-learn=={OTHER}" in (place / "model" / "requirements.txt").read_text()
        return made

    def run(self, place: Path, *overrides: str) -> dict:
        """The job as a process of its own, in the driver's environment."""
        sink = f"sink.path={place}/out-{len(list(place.glob('out-*')))}"
        path = place / "conf.yaml"
        path.write_text(yaml.safe_dump(settings(place, place / "model")))
        sets = [part for text in (*overrides, sink) for part in ("--set", text)]
        done = subprocess.run(
            [sys.executable, "-m", "jobs.run_batch", "--config", str(path), "--run-date", DAY, *sets],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        return json.loads(done.stdout.splitlines()[-1])

    def test_the_driver_s_environment_does_not_pass_the_check(self, own: Path, place: Path) -> None:
        record = self.run(place, "model.environment=check")
        assert record["exit_code"] == 78
        assert f"expected {OTHER}" in record["error"]["message"]

    def test_the_packed_environment_does(self, own: Path, place: Path) -> None:
        from scripts import package

        archive = package.packed(own, place / "environment.tar.gz")
        record = self.run(place, "model.environment=archive", f"model.archive={archive}")
        assert (record["exit_code"], record["rows"]["scored"]) == (0, 200), record["error"]
