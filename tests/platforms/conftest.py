"""What the platforms share: one place with models and inputs, and the outcomes of the same runs on each of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from batch_factory import DAY, day_of, save_model, settings, suite
from cluster import cluster
from connect_server import Server, connect_server
from model_factory import save, signature
from platform_models import Counting, Raising
from processes import ROOT, environment

PLATFORMS = ("local", "cluster", "connect")
PATIENCE = 1200.0  # seconds for the runs of one platform, on a machine that has other things to do as well
STEPS = "tests/platforms/steps.py"


@dataclass(frozen=True)
class Site:
    """Inputs and models, which all platforms read alike, and what should come of them."""

    home: Path
    frame: pd.DataFrame
    store: str

    def tree(self, platform: str, name: str = "main", **more: Any) -> dict[str, Any]:
        """A configuration; sections in ``more`` complete those that are there. Each name has a sink of its own."""
        tree = settings(self.home, self.home / "toy-model", tracking_uri="nonsense://x", run_date=DAY)
        tree["source"]["path"] = f"{self.home}/in/fine"
        tree["sink"] = {"path": f"{self.home}/{platform}/{name}"}
        for key, section in more.items():
            both = isinstance(section, dict) and isinstance(tree.get(key), dict)
            tree[key] = {**tree[key], **section} if both else section
        return tree

    def root(self, platform: str, name: str = "main") -> Path:
        return self.home / platform / name / "toy"


@dataclass(frozen=True)
class Outcomes:
    """What one platform made of the plan: facts of the platform, and by name what came of each step."""

    site: Site
    name: str
    platform: dict[str, Any]
    steps: dict[str, Any]

    def table(self, table: str, step: str = "main") -> pd.DataFrame:
        return pd.read_parquet(self.site.root(self.name, step) / table)


def parts(folder: Path, frame: pd.DataFrame, files: int = 3) -> None:
    folder.mkdir(parents=True)
    for n, part in enumerate(np.array_split(np.arange(len(frame)), files)):
        frame.iloc[part].to_parquet(folder / f"part-{n}.parquet", index=False)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A registered model with its baseline, days that are fine, shifted, dirty, corrupt or text, and suites."""
    import mlflow

    home = tmp_path_factory.mktemp("site")
    store = f"sqlite:///{home}/mlflow.db"
    client = mlflow.MlflowClient(store, store)
    client.create_experiment("toy", artifact_location=f"file://{home}/artifacts")
    client.create_registered_model("toy")
    model = save_model(home / "toy-model")
    version = client.create_model_version("toy", f"file://{model}")
    client.set_registered_model_alias("toy", "champion", version.version)
    save_model(home / "misfit", inputs=("a", "b", "c"))
    save(Raising(), home / "raising", signature({"a": "double", "b": "double"}, {"prediction": "double"}))

    frame = day_of(900, missing=3)
    frame["region"] = np.where(frame.index % 3 == 0, "north", "s\u00fcd")
    frame.loc[10:14, "a"] = 50.0  # the input suite refuses these
    frame.loc[20:21, "b"] = -20.0  # the output suite refuses what the model says of these
    parts(home / "in" / "fine", frame)
    parts(home / "in" / "shifted", day_of(300, shift=5), 1)
    parts(home / "in" / "dirty", day_of(100, missing=30), 1)
    parts(home / "in" / "corrupt", day_of(5000), 1)
    file = home / "in" / "corrupt" / "part-0.parquet"
    content = bytearray(file.read_bytes())
    content[2000:2400] = bytes(400)  # within a page; the footer is whole
    file.write_bytes(content)
    text(home / "in" / "text", frame)
    return Site(home, frame, store)


def text(folder: Path, frame: pd.DataFrame) -> None:
    """The day as three CSV files, of which the second holds two records that are none."""
    folder.mkdir()
    for n, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        lines = frame.iloc[part].to_csv(index=False).splitlines()
        if n == 1:
            lines[5:5] = ["1,2,3,4,5,6", "7,eight,9,north"]
        (folder / f"part-{n}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def expectation(kind: str, column: str, severity: str = "warning", **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": {"column": column, **kwargs}, "severity": severity}


def plan(site: Site, platform: str) -> list[dict[str, Any]]:
    """The runs that every platform makes, in this order."""
    home = site.home
    between, regex = "expect_column_values_to_be_between", "expect_column_values_to_match_regex"
    critical = expectation(between, "a", "critical", max_value=10)
    incoming = suite(
        home,
        "input",
        critical,
        expectation(regex, "region", regex="^n"),
        expectation("expect_column_mean_to_be_between", "b", min_value=-1, max_value=1),
        expectation("expect_column_values_to_be_unique", "id"),
        expectation("expect_column_distinct_values_to_be_in_set", "region", value_set=["north"]),
    )
    outgoing = suite(
        home,
        "output",
        expectation(between, "prediction", "critical", min_value=-30),
        expectation("expect_column_max_to_be_between", "prediction", max_value=100),
    )
    broken = suite(home, "broken", expectation(regex, "region", "critical", regex="("))
    judged: dict[str, Any] = {"quality": {"input": incoming, "output": outgoing, "max_quarantined": 0.1}}
    main = site.tree(
        platform,
        model={"uri": "models:/toy@champion"},
        source={"carry": ["region"]},
        drift={"slices": ["region", "b > 0"]},
        tracking_uri=site.store,
        **judged,
    )
    notes = home / platform / "notes"
    notes.mkdir(parents=True)
    signed = signature({"a": "double", "b": "double"}, {"prediction": "double"})
    counting = save(Counting(str(notes)), notes / "model", signed)
    trusted = {"uri": counting, "allow_pickle": True}
    lenient = {"max_quarantined": 1.0}
    source = {"format": "csv", "path": f"{home}/in/text", "carry": ["region"], "types": {"id": "bigint"}}
    lighter = suite(home, "lighter", critical)  # without what costs a pass of its own
    of_text = {"source": source, "quality": {**judged["quality"], "input": lighter}}

    def failing(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "config": site.tree(platform, name, **more)}

    def reading(day: str) -> dict[str, str]:
        return {"path": f"{home}/in/{day}"}

    return [
        {"name": "dry run", "config": main, "dry_run": True},
        {"name": "main", "config": main},
        {"name": "again", "config": main},
        {"name": "forced", "config": main, "force": True},
        {"name": "evaluated", "config": main, "labels": str(labels(site))},
        *(
            {"name": n, "config": site.tree(platform, n, model=trusted, quality=lenient)}
            for n in ("counted", "counted again")
        ),
        {"name": "text", "config": site.tree(platform, "text", **of_text)},
        {"name": "text in parts", "part_bytes": 1, "config": site.tree(platform, "text-in-parts", **of_text)},
        failing("alerted", source=reading("shifted"), drift={"on_drift": "alert"}),
        failing("blocked", source=reading("shifted"), drift={"on_drift": "block"}),
        failing("dirty", source=reading("dirty")),
        failing("absent", source=reading("absent")),
        failing("corrupt", source=reading("corrupt")),
        failing("raising", model={"uri": f"{home}/raising", "allow_pickle": True}, quality=lenient),
        failing("misfit", model={"uri": f"{home}/misfit"}),
        failing("broken suite", quality={"input": broken}),
        failing("unsteady slice", drift={"slices": ["rand() > 0.5"]}),
        failing("unknown slice", drift={"slices": ["colour"]}),
    ]  # fmt: skip


def labels(site: Site) -> Path:
    """The truth of every second row."""
    path = site.home / "labels.csv"
    some = site.frame[::2]
    some.assign(label=some["a"] + 2 * some["b"] + 1)[["id", "label"]].to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with connect_server(tmp_path_factory.mktemp("server")) as up:
        yield up


_known: dict[str, Outcomes] = {}


@pytest.fixture(scope="session")
def outcomes_of(site: Site, request: pytest.FixtureRequest) -> Any:
    """Asks for the outcomes of a platform; its driver is started the first time."""

    def of(platform: str) -> Outcomes:
        if platform not in _known:
            _known[platform] = _made(site, platform, request)
        return _known[platform]

    return of


def _made(site: Site, platform: str, request: pytest.FixtureRequest) -> Outcomes:
    home = site.home / platform
    home.mkdir()
    asked, told = home / "plan.json", home / "outcomes.json"
    asked.write_text(json.dumps(plan(site, platform)))
    if platform == "cluster":
        with cluster(home) as up:
            process = up.submit(str(asked), str(told), application=STEPS)
            ended = up.ended(process, PATIENCE)
        code, log = ended.code, ended.log
    else:
        server: Server | None = request.getfixturevalue("server") if platform == "connect" else None
        env = server.client(home) if server else environment(home)
        done = subprocess.run(
            [sys.executable, STEPS, str(asked), str(told)],
            cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        code, log = done.returncode, done.stderr
    assert code == 0, "\n".join(line for line in log.splitlines() if not line.startswith("\tat "))[-5000:]
    found = json.loads(told.read_text())
    return Outcomes(site, platform, found["platform"], found["steps"])


@pytest.fixture(scope="session", params=PLATFORMS)
def outcomes(request: pytest.FixtureRequest, outcomes_of: Any) -> Outcomes:
    found: Outcomes = outcomes_of(request.param)
    return found
