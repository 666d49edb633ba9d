"""The manifests against the Spark operator's own models, and what they say against each other.

The project of the operator publishes its API as pydantic models, made from the schema of its resources: a field that
is unknown, missing or of another type does not come through them. They know no enumerations, which are given here.
That a manifest fits is not to say that a cluster has run it.
"""

from __future__ import annotations

import importlib
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyspark
import pytest
import yaml
from pydantic import ValidationError

import jobs.run_batch

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "conf" / "deploy" / "kubernetes"
PIN = "kubeflow-spark-api==2.4.0"  # Apache-2.0, github.com/kubeflow/spark-operator
CHOICES = {
    "type": {"Java", "Python", "Scala", "R"},
    "mode": {"cluster", "client"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
}

ONE = yaml.safe_load((FOLDER / "scoreline.yaml").read_text())
MAP, NIGHTLY = yaml.safe_load_all((FOLDER / "scoreline-nightly.yaml").read_text())
SPECS = {"one date": ONE["spec"], "nightly": NIGHTLY["spec"]["template"]}


@pytest.fixture(scope="module")
def parsed() -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """What the operator's models make of a manifest; they are installed once and kept below ``build/``."""
    place = ROOT / "build" / PIN.replace("==", "-")
    if not (place / "complete").exists():
        uv = [sys.executable, "-m", "uv", "--quiet", "--system-certs", "pip", "install"]
        subprocess.run([*uv, "--no-deps", "--target", place, PIN], check=True)
        (place / "complete").touch()
    with pytest.MonkeyPatch.context() as path:
        path.syspath_prepend(str(place))
        models = importlib.import_module("kubeflow_spark_api.models")
        yield lambda tree: getattr(models, f"SparkV1beta2{tree['kind']}").from_dict(tree).to_dict()


@pytest.mark.platforms
@pytest.mark.parametrize("manifest", [ONE, NIGHTLY], ids=lambda m: m["kind"])
def test_a_manifest_comes_through_the_operator_s_models_as_it_is(
    parsed: Any, manifest: dict[str, Any]
) -> None:
    assert manifest["apiVersion"] == "sparkoperator.k8s.io/v1beta2"
    assert parsed(manifest) == manifest


@pytest.mark.platforms
@pytest.mark.parametrize(
    "change",
    [
        {"sparkVersion": None},
        {"pyFiles": ["a.zip"]},
        {"sparkConf": {"spark.task.maxFailures": 4}},
        {"driver": {"cores": "1"}},
        {"driver": {"instances": 1}},
        {"driver": {"volumeMounts": [{"name": "data"}]}},
    ],
    ids=str,
)
def test_a_wrong_manifest_does_not(parsed: Any, change: dict[str, Any]) -> None:
    wrong = ONE | {"spec": ONE["spec"] | change}
    with suppress(
        ValidationError
    ):  # what is unknown is dropped, and what is missing filled in, without a word
        assert parsed(wrong) != wrong


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_volumes_that_are_mounted_are_declared_and_spark_is_the_one_we_run_with(spec: dict[str, Any]) -> None:
    declared = {volume["name"] for volume in spec["volumes"]}
    mounted = {m["name"] for pod in ("driver", "executor") for m in spec[pod]["volumeMounts"]}
    assert mounted == declared
    assert spec["sparkVersion"] == pyspark.__version__
    assert all(spec[name] in allowed for name, allowed in CHOICES.items())
    assert spec["restartPolicy"] == {"type": "Never"}, "the operator cannot tell exit codes apart"


def test_both_manifests_start_the_same_job_on_the_same_pods() -> None:
    one, nightly = SPECS.values()
    own = {"mainApplicationFile", "arguments", "volumes", "driver"}
    assert {k: v for k, v in one.items() if k not in own} == {
        k: v for k, v in nightly.items() if k not in own
    }
    assert one["arguments"][:-2] == nightly["arguments"]
    assert one["arguments"][-2] == "--run-date"


def test_the_schedule_scores_the_day_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = NIGHTLY["spec"]["template"]
    (mount,) = (m for m in spec["driver"]["volumeMounts"] if m["name"] == "nightly")
    (name,) = MAP["data"]
    assert spec["mainApplicationFile"] == f"local://{mount['mountPath']}/{name}"
    (volume,) = (v for v in spec["volumes"] if v["name"] == "nightly")
    assert volume["configMap"]["name"] == MAP["metadata"]["name"]
    (tmp_path / name).write_text(MAP["data"][name])
    started: list[list[str]] = []
    monkeypatch.setattr(jobs.run_batch, "main", lambda: started.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", [name, *spec["arguments"]])
    before = datetime.now(UTC)
    runpy.run_path(str(tmp_path / name))
    ((*given, option, day),) = started
    assert (given, option) == (spec["arguments"], "--run-date")
    assert date.fromisoformat(day) in {(t - timedelta(days=1)).date() for t in (before, datetime.now(UTC))}
