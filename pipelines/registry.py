"""From a model URI to an exact version and its verified bytes; an alias is resolved once.

Everything downstream uses what :func:`resolve` returned: moving the alias during a run changes nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from pipelines import model_files, near, strangers
from pipelines.config import Model
from pipelines.errors import ConfigInvalid, ModelUnavailable
from pipelines.records import ResolvedModel
from pipelines.redaction import redact

_ALIAS = re.compile(r"models:/(?P<name>[^@/]+)@(?P<alias>[^/]+)")
_VERSION = re.compile(r"models:/(?P<name>[^@/]+)/(?P<version>\d+)")
_LOGGED = re.compile(r"models:/(?P<id>m-[0-9a-f]+)")  # a model that was logged, registered or not
_RUN = re.compile(r"runs:/(?P<run>[0-9a-f]+)/(?P<path>.+)")
# Bounded: a registry that is down is the scheduler's to retry, not ours for an hour.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_HINT = "Check name, version or alias, and that MLFLOW_TRACKING_URI (or tracking_uri) is the right registry."
_LOOKED_AT = 1000  # names, among which a near one is looked for
_STALLED = 180.0  # seconds: all of MLflow's own tries at one request end before


def resolve(config: Model, tracking_uri: str) -> ResolvedModel:
    """Resolve, download, check and pack a model.

    Args:
        tracking_uri: MLflow's tracking and registry URI (``MLFLOW_REGISTRY_URI`` goes before it for the registry).

    Raises:
        ModelUnavailable: the registry does not answer, or has no such model, version or alias.
        ConfigInvalid: no signature, another digest than pinned, a format that is not allowed, missing libraries.
    """
    name, version, alias = _identify(config.uri, tracking_uri)
    with tempfile.TemporaryDirectory(prefix="scoreline-registry-") as scratch:
        path = _download(config.uri, name, version, tracking_uri, Path(scratch))
        folder = model_files.read_folder(path, config.uri)
        digest = model_files.folder_digest(path)
        if config.digest and config.digest != digest:
            raise ConfigInvalid(
                f"model.digest: {config.uri!r} has sha256 {digest}, but {config.digest} is pinned.",
                hint="Find out who changed the model; if the change is wanted, pin the new digest.",
            )
        model_files.check_format(folder, config.uri, config.allow_pickle)
        elsewhere = config.environment != "inherit"  # then each worker is asked: it is what loads the model
        warnings = () if elsewhere else model_files.check_environment(folder)
        return ResolvedModel(
            name=name,
            version=version or digest[:12],
            alias=alias,
            uri=config.uri,
            digest=digest,
            flavor=folder.flavor,
            inputs=folder.inputs,
            outputs=folder.outputs,
            payload=model_files.pack(path),
            baseline=_baseline(path),
            flavor_options=folder.options,
            warnings=warnings,
            saved_with=model_files.saved_with(folder),
        )


def check_uri(uri: str) -> None:
    """What can be said of a model URI without asking the registry.

    Raises:
        ConfigInvalid: it has none of the forms there are.
        ModelUnavailable: it is a folder that is not there.
    """
    if any(form.fullmatch(uri) for form in (_VERSION, _ALIAS, _LOGGED, _RUN)):
        return
    if "://" in uri or uri.startswith(("models:", "runs:")):
        raise ConfigInvalid(
            f"model.uri: found {uri!r}, expected models:/NAME/VERSION, models:/NAME@alias, models:/m-ID, "
            "runs:/ID/PATH or a folder.",
            hint="Write the URI in one of these forms.",
        )
    if not Path(uri).is_dir():
        raise ModelUnavailable(
            f"model.uri: there is no folder {uri!r}.",
            hint="Check the path; a registered model is written models:/NAME@alias.",
        )


def _identify(uri: str, tracking_uri: str) -> tuple[str, str | None, str | None]:
    """Name, exact version (None where only the bytes can tell) and alias."""
    check_uri(uri)
    if match := _VERSION.fullmatch(uri):
        return match["name"], match["version"], None
    if match := _ALIAS.fullmatch(uri):
        return match["name"], _aliased(uri, match["name"], match["alias"], tracking_uri), match["alias"]
    if match := _LOGGED.fullmatch(uri):
        return match["id"], None, None
    if match := _RUN.fullmatch(uri):
        return f"{match['run']}-{match['path'].replace('/', '-')}", None, None
    return Path(uri).resolve().name, None, None


def _aliased(uri: str, name: str, alias: str, tracking_uri: str) -> str:
    found = _ask(uri, lambda c: c.get_model_version_by_alias(name, alias), tracking_uri)
    if found.name != name or not re.fullmatch(r"\d+", str(found.version)):
        raise ModelUnavailable(
            f"model.uri: cannot get {uri!r} from the registry: it answers with version {str(found.version)[:100]!r} "
            f"of {str(found.name)[:100]!r}.",
            hint="Check that MLFLOW_TRACKING_URI (or tracking_uri) is an MLflow server.",
        )
    return str(found.version)


def _download(uri: str, name: str, version: str | None, tracking_uri: str, scratch: Path) -> Path:
    if version is not None:
        uri = f"models:/{name}/{version}"  # never the alias again: it may have moved
    elif not uri.startswith(("models:", "runs:")):
        return _copied(Path(uri), scratch / "model")

    def fetch(_: Any) -> Any:
        import mlflow.artifacts

        return mlflow.artifacts.download_artifacts(uri, dst_path=str(scratch))

    with _pointed_at(tracking_uri):
        return Path(_ask(uri, fetch, tracking_uri, scratch))


def _copied(folder: Path, target: Path) -> Path:
    """A copy that nobody changes between the check of its digest and its use."""
    try:
        return Path(shutil.copytree(folder, target, symlinks=True))
    except (OSError, shutil.Error) as error:
        raise ModelUnavailable(
            f"model.uri: cannot read the folder {str(folder)!r}: {error}.", hint="Check its permissions."
        ) from error


@contextmanager
def _pointed_at(tracking_uri: str) -> Iterator[None]:
    """MLflow's global tracking URI for the time of a download: below ``models:/`` it looks at nothing else.

    Put back as it was, unset included: what is set here would otherwise decide over every later run.
    """
    import mlflow
    from mlflow.tracking._tracking_service import utils

    before: Any
    before, variable = utils._tracking_uri, os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable


def _ask(uri: str, question: Any, tracking_uri: str, scratch: Path | None = None) -> Any:
    """Put a question to the registry; whatever it raises, or no answer, means that the model cannot be had now.

    Args:
        scratch: where the answer's files arrive.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    try:
        client = mlflow.MlflowClient(tracking_uri)  # the registry: MLFLOW_REGISTRY_URI, else the same
        return _in_time(lambda: question(client), scratch)
    except Exception as error:  # MLflow raises its own, requests', SQLAlchemy's and the stores' errors
        if instead := _instead(uri, error, tracking_uri):
            raise ModelUnavailable(
                f"model.uri: cannot get {uri!r} from the registry: {instead}.", hint=_HINT
            ) from None
        first = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
        asked = redact(os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri, ())
        found, hint = strangers.told(asked, str(error)) or (first, _HINT)
        raise ModelUnavailable(
            f"model.uri: cannot get {uri!r} from the registry: {found}", hint=hint
        ) from error


def _instead(uri: str, error: Exception, tracking_uri: str) -> str:
    """What a registry that answers has in place of a model that it does not have; empty for all other errors."""
    missing = getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
    match = _ALIAS.fullmatch(uri) or _VERSION.fullmatch(uri)
    if not missing or match is None:
        return ""
    import mlflow

    name, wanted = match.groups()
    where = redact(os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri, ())
    with suppress(Exception):  # the first error is the one to tell
        client = mlflow.MlflowClient(tracking_uri)
        names = _in_time(
            lambda: [m.name for m in client.search_registered_models(max_results=_LOOKED_AT)], None
        )
        if name not in names and len(names) < _LOOKED_AT:
            has = (
                near.told(name, names) or f"; it has {', '.join(map(repr, names[:5]))}"
                if names
                else ", nor any other"
            )
            return f"{where} has no model {name!r}{has}"
        if "@" in uri:
            aliases = {a: str(v) for a, v in client.get_registered_model(name).aliases.items()}
            known = ", ".join(f"{a!r} (version {v})" for a, v in sorted(aliases.items())[:10])
            like = near.told(wanted, list(aliases))
            return f"{name!r} has no alias {wanted!r}{like}; it has {known or 'none'}"
        found = client.search_model_versions(f"name = '{name}'", max_results=100)
        versions = sorted((int(v.version) for v in found), reverse=True)
        return f"{name!r} has no version {wanted}; it has {', '.join(map(str, versions[:10])) or 'none'}"
    return ""


def _in_time(question: Callable[[], Any], scratch: Path | None) -> Any:
    """The answer to a question, which is given up when nothing has arrived in ``scratch`` for long.

    MLflow limits the time between two bytes of an answer, and sleeps for as long as a server tells it to.
    """
    answer: Future[Any] = Future()
    Thread(target=_answer, args=(question, answer), daemon=True).start()
    arrived, since = 0, time.monotonic()
    while not wait([answer], timeout=min(1.0, _STALLED)).done:
        if (here := _bytes_below(scratch)) != arrived:
            arrived, since = here, time.monotonic()
        if time.monotonic() - since > _STALLED:
            raise TimeoutError(f"no answer within {_STALLED:g} s")
    return answer.result()


def _answer(question: Callable[[], Any], answer: Future[Any]) -> None:
    try:
        answer.set_result(question())
    except BaseException as error:  # whoever waits gets it
        answer.set_exception(error)


def _bytes_below(folder: Path | None) -> int:
    if folder is None:
        return 0
    sizes = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # renamed or removed meanwhile
            sizes += path.stat().st_size
    return sizes


def _baseline(path: Path) -> Mapping[str, Any] | None:
    file = path / model_files.BASELINE
    try:
        return json.loads(file.read_text("utf-8")) if file.is_file() else None
    except ValueError as error:
        raise ConfigInvalid(
            f"drift.baseline: {file.name} of the model is not JSON ({error}).", hint="Log the baseline again."
        ) from error


def log_baseline(model_info: Any, profile: Mapping[str, Any], tracking_uri: str | None = None) -> None:
    """Log a baseline profile as an artifact of the model that ``mlflow.<flavor>.log_model`` returned.

    Call it right after ``log_model``: the profile then is part of the version's files and of its digest.

    Args:
        model_info: what ``log_model`` returned (its ``model_id`` is used), or a folder with a saved model.
        profile: from :func:`pipelines.profiles.baseline_from_pandas`.
    """
    text = json.dumps(profile)
    if isinstance(model_info, (str, Path)):
        (Path(model_info) / model_files.BASELINE).write_text(text, "utf-8")
        return
    import mlflow

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / model_files.BASELINE
        file.write_text(text, "utf-8")
        mlflow.MlflowClient(tracking_uri).log_model_artifact(model_info.model_id, str(file))
