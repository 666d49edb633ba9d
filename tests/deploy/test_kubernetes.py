"""The manifest against the fields of the operator's API that it uses.

The operator's own schema has 800 kB and is not part of this repository. `FIELDS` is a transcription, by hand, of
what `api/v1beta2/sparkapplication_types.go` of kubeflow/spark-operator says of the fields used here, and no more:
a manifest that passes uses known fields with known types, which is not to say that a cluster has run it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyspark
import pytest
import yaml

MANIFEST = Path(__file__).resolve().parents[2] / "conf" / "deploy" / "kubernetes" / "scoreline.yaml"
POD: dict[str, Any] = {
    "cores": int, "memory": str, "memoryOverhead": str, "serviceAccount": str, "env": list, "volumeMounts": list
}  # fmt: skip
FIELDS: dict[str, Any] = {
    "type": {"Java", "Python", "Scala", "R"},
    "mode": {"cluster", "client"},
    "sparkVersion": str, "image": str, "imagePullPolicy": str, "mainApplicationFile": str,
    "arguments": [str], "sparkConf": {str: str}, "timeToLiveSeconds": int, "volumes": list,
    "deps": {"pyFiles": [str], "archives": [str], "files": [str]},
    "restartPolicy": {"type": {"Never", "Always", "OnFailure"}, "onFailureRetries": int},
    "driver": POD, "executor": {**POD, "instances": int},
}  # fmt: skip
REQUIRED = ("type", "sparkVersion", "mainApplicationFile", "driver", "executor")


def faults(value: Any, wanted: Any, path: str = "spec") -> list[str]:
    """Where a value is not of the transcribed form."""
    if isinstance(wanted, set):
        return [] if value in wanted else [f"{path}: {value!r} is none of {sorted(wanted)}"]
    if isinstance(wanted, list):
        return [] if all(isinstance(v, wanted[0]) for v in value) else [f"{path}: items of another type"]
    if isinstance(wanted, dict) and str in wanted:
        return [f"{path}.{k}: not text" for k, v in value.items() if not isinstance(v, str)]
    if isinstance(wanted, dict):
        unknown = [f"{path}.{key}: unknown" for key in value if key not in wanted]
        return unknown + [
            f for k, v in value.items() if k in wanted for f in faults(v, wanted[k], f"{path}.{k}")
        ]
    return [] if isinstance(value, wanted) and not isinstance(value, bool) else [f"{path}: {value!r}"]


@pytest.fixture
def manifest() -> dict[str, Any]:
    return yaml.safe_load(MANIFEST.read_text())


def test_the_manifest_fits_the_transcribed_fields(manifest: dict[str, Any]) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("sparkoperator.k8s.io/v1beta2", "SparkApplication")
    assert faults(manifest["spec"], FIELDS) == []
    assert [name for name in REQUIRED if name not in manifest["spec"]] == []


def test_a_wrong_manifest_is_found(manifest: dict[str, Any]) -> None:
    wrong = manifest["spec"] | {"kind": "x", "mode": "local", "sparkConf": {"a": 1}, "driver": {"cores": "1"}}
    assert len(faults(wrong, FIELDS)) == 4


def test_volumes_that_are_mounted_are_declared_and_spark_is_the_one_we_run_with(
    manifest: dict[str, Any],
) -> None:
    spec = manifest["spec"]
    declared = {volume["name"] for volume in spec["volumes"]}
    assert {m["name"] for pod in ("driver", "executor") for m in spec[pod]["volumeMounts"]} <= declared
    assert spec["sparkVersion"] == pyspark.__version__
