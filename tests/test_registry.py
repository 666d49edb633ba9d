"""From a URI to an exact version and its verified bytes, on a real MLflow registry."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import model_factory
import numpy as np
import pytest

from pipelines import registry, strangers
from pipelines.config import Model
from pipelines.errors import ConfigInvalid, ModelUnavailable

SIGNED = {"x": "double"}


@dataclass(frozen=True)
class Shelf:
    """A registry with one model, ``demo``, in two versions."""

    uri: str
    client: Any
    run_id: str
    logged_id: str

    def resolve(self, uri: str, **options: Any) -> Any:
        return registry.resolve(Model(uri=uri, **options), self.uri)

    def files(self, version: int) -> Path:
        location = self.client.get_model_version_download_uri("demo", str(version))
        if location.startswith("models:/m-"):
            location = self.client.get_logged_model(location.removeprefix("models:/")).artifact_location
        return Path(location.removeprefix("file://"))


def line(slope: float) -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(np.array([[0.0], [1.0]]), [0.0, slope])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    import mlflow.sklearn

    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("train", artifact_location=str(folder / "artifacts"))
    signed = model_factory.signature(SIGNED, {None: "double"})
    with registry._pointed_at(uri):
        for slope in (1.0, 2.0):
            with mlflow.start_run(experiment_id=experiment) as run:
                info = mlflow.sklearn.log_model(
                    line(slope), name="model", signature=signed, serialization_format="skops",
                    pip_requirements=["scikit-learn"],
                )  # fmt: skip
            registry.log_baseline(info, {"slope": slope}, uri)
            mlflow.register_model(info.model_uri, "demo")
    client.set_registered_model_alias("demo", "champion", "1")
    return Shelf(uri, client, run.info.run_id, info.model_id)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    signed = model_factory.signature(SIGNED, {None: "double"})
    return Path(model_factory.save(line(1.0), tmp_path / "local-model", signed, "skops"))


def names(payload: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(payload)) as archive:
        return archive.getnames()


def test_an_alias_becomes_an_exact_version_with_its_bytes_and_its_baseline(shelf):
    found = shelf.resolve("models:/demo@champion")
    assert (found.name, found.version, found.alias, found.model_id) == ("demo", "1", "champion", "demo/1")
    assert found.flavor == "sklearn"
    assert [(c.name, c.type) for c in found.inputs] == [("x", "double")]
    assert [(c.name, c.type) for c in found.outputs] == [("prediction", "double")]
    assert found.baseline == {"slope": 1.0}
    assert {"MLmodel", "model.skops"} <= set(names(found.payload))
    assert found.digest == shelf.resolve("models:/demo/1").digest


def test_moving_the_alias_changes_the_next_run_and_not_this_one(shelf, tmp_path):
    uri = "models:/demo@champion"
    name, version, _ = registry._identify(uri, shelf.uri)
    shelf.client.set_registered_model_alias("demo", "champion", "2")
    try:
        path = registry._download(uri, name, version, shelf.uri, tmp_path)
        assert '"slope": 1.0' in (path / "scoreline_baseline.json").read_text()
        later = shelf.resolve(uri)
        assert (later.version, later.baseline) == ("2", {"slope": 2.0})
    finally:
        shelf.client.set_registered_model_alias("demo", "champion", "1")


@pytest.mark.parametrize("form", ["models:/demo/2", "runs:/{run}/model", "models:/{logged}"])
def test_every_way_to_name_the_same_model_gives_the_same_bytes(shelf, form):
    found = shelf.resolve(form.format(run=shelf.run_id, logged=shelf.logged_id))
    assert found.digest == shelf.resolve("models:/demo/2").digest
    assert found.alias is None
    assert found.version in ("2", found.digest[:12])


@pytest.mark.parametrize("variable", [None, "sqlite:///elsewhere.db"])
def test_resolving_leaves_mlflow_pointed_where_it_was(shelf, monkeypatch, variable):
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow.set_tracking_uri(None)
    if variable:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), dict(os.environ)
    for _ in range(2):  # the second finds the same registry
        assert shelf.resolve("models:/demo/1").version == "1"
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == before[:2]
    assert {k: v for k, v in os.environ.items() if k.endswith("_URI")} == {
        k: v for k, v in before[2].items() if k.endswith("_URI")
    }


def test_a_registry_of_its_own_goes_before_the_tracking_uri(shelf, monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ModelUnavailable, match=r"nothing listens at http://127\.0\.0\.1:1 "):
        shelf.resolve("models:/demo/1")


def test_a_store_of_artifacts_that_is_down_is_not_taken_for_the_registry():
    text = "HTTPConnectionPool(host='store', port=9000): Max retries exceeded: [Errno 111] Connection refused"
    assert strangers.told("http://mlflow:5000", text) is None
    found, hint = strangers.told("http://store:9000", text)
    assert found == "nothing listens at http://store:9000"
    assert "mlflow server --port" in hint


def test_a_pinned_digest_lets_that_model_pass_and_no_other(shelf):
    digest = shelf.resolve("models:/demo/1").digest
    assert shelf.resolve("models:/demo@champion", digest=digest).version == "1"
    with pytest.raises(
        ConfigInvalid, match=f"(?s)model.digest: .*but {digest} is pinned.*Find out who"
    ) as caught:
        shelf.resolve("models:/demo/2", digest=digest)
    assert caught.value.exit_code == 78


def test_an_artifact_that_was_tampered_with_is_another_model(shelf):
    pinned = shelf.resolve("models:/demo/2").digest
    file = shelf.files(2) / "model.skops"
    kept = file.read_bytes()
    file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        with pytest.raises(ConfigInvalid, match="is pinned"):
            shelf.resolve("models:/demo/2", digest=pinned)
    finally:
        file.write_bytes(kept)
    assert shelf.resolve("models:/demo/2", digest=pinned).digest == pinned


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("models:/nobody/1", r"sqlite:.*mlflow\.db has no model 'nobody'; it has 'demo'"),
        ("models:/nobody@champion", "has no model 'nobody'; it has 'demo'"),
        ("models:/Demmo@champion", "has no model 'Demmo'; near: 'demo'"),
        ("models:/demo/9", "'demo' has no version 9; it has 2, 1"),
        (
            "models:/demo@champoin",
            r"'demo' has no alias 'champoin'; near: 'champion'; it has 'champion' \(version",
        ),
        ("models:/demo@challenger", r"'demo' has no alias 'challenger'; .*it has 'champion' \(version"),
        ("models:/m-00000000000000000000000000000000", "m-0000"),
        ("runs:/0123456789abcdef0123456789abcdef/model", "0123456789abcdef not found"),
        ("runs:/{run}/nothing", "nothing"),
    ],
)
def test_what_the_registry_has_not_is_named_with_a_hint(shelf, uri, found):
    uri = uri.format(run=shelf.run_id)
    with pytest.raises(
        ModelUnavailable, match=f"cannot get '{uri}' from the registry: .*{found}.*MLFLOW_TRACKING_URI"
    ) as e:
        shelf.resolve(uri)
    assert (e.value.exit_code, e.value.retryable) == (69, True)


@pytest.mark.parametrize("uri", ["models:/demo@champion", "models:/demo/1", "runs:/0123456789abcdef/model"])
def test_a_registry_that_is_down_is_for_the_scheduler_to_retry(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ModelUnavailable, match=r"cannot get .* from the registry") as caught:
        registry.resolve(Model(uri=uri), "http://127.0.0.1:1")
    assert caught.value.exit_code == 69


@pytest.mark.parametrize(
    "uri", ["models:/demo", "models:/demo/latest", "runs:/abc", "s3://bucket/model", "models:/@x"]
)
def test_a_uri_of_another_form_is_refused_with_the_forms_there_are(uri):
    with pytest.raises(
        ConfigInvalid, match=f"found '{uri}', expected models:/NAME/VERSION, models:/NAME@alias"
    ):
        registry.resolve(Model(uri=uri), "http://127.0.0.1:1")


def test_a_local_folder_is_its_own_registry(local):
    found = registry.resolve(Model(uri=str(local)), "http://127.0.0.1:1")
    assert (found.name, found.alias, found.version) == ("local-model", None, found.digest[:12])
    assert found.baseline is None
    registry.log_baseline(local, {"n": 3})
    assert registry.resolve(Model(uri=str(local)), "http://127.0.0.1:1").baseline == {"n": 3}


def test_a_baseline_that_is_no_json_is_refused_in_words(local):
    (local / "scoreline_baseline.json").write_text("{")
    with pytest.raises(ConfigInvalid, match=r"scoreline_baseline\.json of the model is not JSON"):
        registry.resolve(Model(uri=str(local)), "http://127.0.0.1:1")


def test_a_missing_folder_says_how_a_registered_model_is_written(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"there is no folder .*written models:/NAME@alias"):
        registry.resolve(Model(uri=str(tmp_path / "none")), "http://127.0.0.1:1")


@pytest.mark.parametrize("make", [lambda p: p.symlink_to("/etc/hostname"), os.mkfifo])
def test_links_and_pipes_in_a_model_folder_are_refused(local, make):
    make(local / "odd")
    with pytest.raises(ModelUnavailable, match="odd"):
        registry.resolve(Model(uri=str(local)), "http://127.0.0.1:1")


def test_nothing_is_unpickled_while_a_model_is_resolved(tmp_path):
    class Trap(model_factory.Sum):
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    uri = model_factory.save(Trap(), tmp_path / "m", model_factory.signature(SIGNED, {None: "double"}))
    with pytest.raises(ConfigInvalid, match="saved as cloudpickle"):
        registry.resolve(Model(uri=uri), "http://127.0.0.1:1")
    registry.resolve(Model(uri=uri, allow_pickle=True), "http://127.0.0.1:1")
    assert not (tmp_path / "sprung").exists()


def test_other_libraries_than_the_model_s_are_a_warning_in_the_result(local):
    (local / "requirements.txt").write_text("scikit-learn==1.0.2\n")
    (warning,) = registry.resolve(Model(uri=str(local)), "http://127.0.0.1:1").warnings
    assert "scikit-learn 1.0.2" in warning
