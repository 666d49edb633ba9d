"""Notebooks run as they are, with and without what Databricks gives them; the bundle fits its public models."""

from __future__ import annotations

import configparser
import re
import runpy
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
import yaml
from batch_factory import save_model
from packaging.requirements import Requirement

from pipelines import registry
from pipelines.config import Model
from pipelines.errors import ConfigInvalid, InputUnavailable

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"


class Dbutils:
    """Widgets and task values as notebooks on Databricks see them."""

    def __init__(self, **parameters: str) -> None:
        self.parameters, self.told = parameters, {}
        self.widgets = SimpleNamespace(text=self.parameters.setdefault, get=self.parameters.__getitem__)
        self.jobs = SimpleNamespace(taskValues=SimpleNamespace(set=self._set))

    def _set(self, key: str, value: Any) -> None:
        self.told[key] = value


@pytest.fixture
def run(spark, tmp_path, monkeypatch):
    """Runs a notebook from top to bottom; gives its names."""
    monkeypatch.setenv("SCORELINE_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.syspath_prepend(str(ROOT))
    before = mlflow.get_tracking_uri()
    yield lambda name, **given: runpy.run_path(str(NOTEBOOKS / f"{name}.py"), given)
    mlflow.set_tracking_uri(before)


@pytest.mark.platforms
def test_the_backfill_publishes_a_range_and_tells_later_tasks(run) -> None:
    dbutils = Dbutils(**{"from": "2026-03-02", "to": "2026-03-03"})
    names = run("backfill", dbutils=dbutils)
    assert [r.status for r in names["records"].values()] == ["published", "published"]
    assert dbutils.told == {"exit_code": 10, "drift": "drift", "quarantined": 6, "failed": ""}


@pytest.mark.platforms
def test_a_failed_date_fails_the_backfill_after_the_task_values_are_set(run) -> None:
    dbutils = Dbutils(**{"from": "2026-03-03", "to": "2026-03-05", "keep_going": "true"})
    with pytest.raises(InputUnavailable) as caught:
        run("backfill", dbutils=dbutils)
    assert caught.value.exit_code == dbutils.told["exit_code"] == 66
    assert dbutils.told["failed"] == "2026-03-04,2026-03-05"
    assert dbutils.told["drift"] == "drift", "the first date was published"


@pytest.mark.platforms
def test_the_quarantine_is_explained_by_rule_and_value(run) -> None:
    names = run("investigate_quarantine")  # no dbutils: defaults
    counts = {row["reason"]: row["count"] for row in names["by_reason"].collect()}
    assert names["values"]["quarantined"] == names["quarantine"].count() == 6
    assert counts["expect_column_values_to_be_between(mean perimeter)"] >= 1
    assert names["values_at_fault"]["required(worst symmetry)"]["missing"] == 1
    assert names["by_file"].first()["source_file"].endswith("samples.parquet")


@pytest.mark.platforms
def test_a_refused_run_s_quarantine_is_found_too(run, tmp_path) -> None:
    with pytest.raises(Exception, match="quarantine") as caught:
        run(
            "backfill",
            dbutils=Dbutils(**{"from": "2026-03-02", "overrides": "quality.max_quarantined=0.001"}),
        )
    assert caught.value.exit_code == 65
    config = f"{tmp_path}/conf.yaml"
    tree = yaml.safe_load((ROOT / "conf" / "breast-cancer.yaml").read_text())
    Path(config).write_text(yaml.safe_dump(tree | {"sink": {"path": f"{tmp_path}/out"}}))
    dbutils = Dbutils(config=config, run_date="2026-03-02")
    names = run("investigate_quarantine", dbutils=dbutils)
    assert dbutils.told["quarantined"] == 6
    assert "refused" in str(names["found"][0])


@pytest.mark.platforms
def test_a_wrong_parameter_is_the_notebook_s_exception(run) -> None:
    with pytest.raises(ConfigInvalid, match=r"scoring\.engin") as caught:
        run("backfill", dbutils=Dbutils(overrides="scoring.engin=udf"))
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.py")), ids=lambda p: p.stem)
def test_notebooks_are_in_databricks_source_format(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == "# Databricks notebook source"
    assert lines.count("# COMMAND ----------") >= 5


def test_what_notebooks_install_is_a_part_of_what_the_project_declares() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    declared = {
        line for line in setup["options"]["install_requires"].splitlines() if line[:1] not in ("", "#")
    }
    wanted = [
        line
        for line in (NOTEBOOKS / "requirements.txt").read_text().splitlines()
        if line[:1] not in ("", "#")
    ]
    assert set(wanted) <= declared
    assert "pyspark" not in {Requirement(line).name for line in wanted}


BUNDLE = yaml.safe_load((ROOT / "databricks.yml").read_text())
RESOURCES = sorted(path for pattern in BUNDLE["include"] for path in ROOT.glob(pattern))


def jobs() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in RESOURCES:
        found |= yaml.safe_load(path.read_text())["resources"]["jobs"]
    return found


@pytest.mark.parametrize("name", jobs())
def test_jobs_fit_the_bundle_s_public_models(name: str) -> None:
    models = pytest.importorskip("databricks.bundles.jobs")
    written = models.Job.from_dict(jobs()[name]).as_dict()
    assert stringless(written) == stringless(jobs()[name]), "a field the models do not know has been dropped"


@pytest.mark.parametrize(
    "change",
    [
        {"taskz": []},
        {"schedule": {"timezone_id": "UTC"}},
        {
            "schedule": {
                "quartz_cron_expression": "0 0 2 * * ?",
                "timezone_id": "UTC",
                "pause_status": "LATER",
            }
        },
        {"tasks": [{"task_key": "score", "notebook_task": {"path": "x"}}]},
        {"tasks": [{"task_key": "score", "max_retries": "often"}]},
    ],
    ids=str,
)
def test_a_wrong_job_does_not_fit(change: dict[str, Any]) -> None:
    models = pytest.importorskip("databricks.bundles.jobs")
    wrong = jobs()["score_serverless"] | change
    with suppress(ValueError, TypeError):  # what is unknown may be dropped without a word
        assert stringless(models.Job.from_dict(wrong).as_dict()) != stringless(wrong)


# What is around the jobs has no models: these are the fields, of those that the CLI's schema knows, that are used here.
AROUND: dict[str, Any] = {
    "bundle": {"name": str},
    "include": [str],
    "variables": {"*": {"description": str, "default": str}},
    "sync": {"exclude": [str]},
    "targets": {"*": {"mode": str, "default": bool, "workspace": {"root_path": str}}},
}


def unfit(value: Any, form: Any, where: str = "") -> list[str]:
    """Where a value is not of a form."""
    if isinstance(form, dict) and isinstance(value, dict):
        known = {k: form.get(k, form.get("*")) for k in value}
        return [
            at
            for k, v in value.items()
            for at in (unfit(v, known[k], f"{where}.{k}") if known[k] else [f"{where}.{k}"])
        ]
    if isinstance(form, list) and isinstance(value, list):
        return [at for item in value for at in unfit(item, form[0], where)]
    return [] if isinstance(form, type) and isinstance(value, form) else [where]


def test_what_is_around_the_jobs_has_fields_that_the_cli_knows() -> None:
    assert unfit(BUNDLE, AROUND) == []
    assert unfit(BUNDLE | {"varibles": {}, "sync": {"exclude": "x"}}, AROUND) == [
        ".sync.exclude",
        ".varibles",
    ]
    assert {target["mode"] for target in BUNDLE["targets"].values()} == {"development", "production"}
    assert [n for n, t in BUNDLE["targets"].items() if t.get("default")] == ["dev"]


def stringless(tree: Any) -> Any:
    """Variables as text, so that a tree compares with what was parsed of it."""
    if isinstance(tree, dict):
        return {key: stringless(value) for key, value in tree.items()}
    return [stringless(item) for item in tree] if isinstance(tree, list) else str(tree)


@pytest.mark.parametrize("name", jobs())
def test_what_a_job_refers_to_is_there(name: str) -> None:
    job, text = jobs()[name], yaml.safe_dump(jobs()[name])
    keys = {task["task_key"] for task in job["tasks"]}
    clusters = {c["job_cluster_key"] for c in job.get("job_clusters", ())}
    assert {t["job_cluster_key"] for t in job["tasks"] if "job_cluster_key" in t} == clusters
    assert {d["task_key"] for t in job["tasks"] for d in t.get("depends_on", ())} <= keys
    assert set(re.findall(r"\$\{var\.(\w+)\}", text)) <= set(BUNDLE["variables"])
    assert set(re.findall(r"job\.parameters\.(\w+)", text)) <= {p["name"] for p in job["parameters"]}
    told = set(re.findall(r"tasks\.score\.values\.(\w+)", text))
    assert all(f'"{key}":' in (NOTEBOOKS / "backfill.py").read_text() for key in told)
    for task in job["tasks"]:
        if "notebook_task" in task:
            assert (ROOT / "resources" / task["notebook_task"]["notebook_path"]).is_file()


@pytest.mark.platforms
def test_a_three_level_name_is_one_name(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    client.create_registered_model("main.scoring.toy")
    source = save_model(tmp_path / "model").as_uri()
    version = client.create_model_version("main.scoring.toy", source)
    client.set_registered_model_alias("main.scoring.toy", "champion", version.version)
    found = registry.resolve(Model(uri="models:/main.scoring.toy@champion"), uri)
    assert (found.name, found.version, found.alias) == ("main.scoring.toy", "1", "champion")
    assert found.model_id == "main.scoring.toy/1"


@pytest.mark.parametrize(
    ("tracking", "variable", "registry_uri"),
    [
        ("databricks", None, "databricks-uc"),
        ("databricks://profile", None, "databricks-uc://profile"),
        ("http://127.0.0.1:5000", "databricks-uc", "databricks-uc"),
        ("http://127.0.0.1:5000", None, "http://127.0.0.1:5000"),
    ],
)
def test_the_registry_follows_mlflow_s_own_rule(
    monkeypatch, tracking: str, variable: str | None, registry_uri: str
) -> None:
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    if variable:
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", variable)
    asked = registry._ask("models:/a.b.c@d", lambda client: client._registry_uri, tracking)
    assert asked == registry_uri
