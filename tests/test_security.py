"""Nothing leaves the sink, nothing secret or sensitive leaves the run: looked for in all that real runs leave."""

from __future__ import annotations

import html.parser
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from batch_factory import DAY, lay_out, settings, suite
from hypothesis import example, given
from hypothesis import strategies as st
from model_factory import save, signature
from pydantic import ValidationError
from pyspark.sql import SparkSession

from pipelines import config_files, load_config, publish, run_batch
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, ModelUnavailable
from pipelines.redaction import mask, named_like_secrets, redact

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests to import
ROOT = Path(__file__).resolve().parent.parent

# --- nothing escapes the sink ---

ESCAPES = ["../up", "..", ".", "/etc", "a/b", "a\\b", "a\0b", "a\n", "~", "%2e%2e", "", "a" * 65, "Ä"]


def named(name: str) -> dict[str, Any]:
    source = {"format": "parquet", "path": "p"}
    return {"name": name, "model": {"uri": "m"}, "source": source, "run_date": DAY}


@example("..")
@given(st.one_of(st.text(max_size=70), st.sampled_from(ESCAPES), st.from_regex(r"[a-z0-9./-]{1,9}")))
def test_a_name_is_refused_or_is_one_folder_below_the_sink(name: str) -> None:
    try:
        config = Config.model_validate(named(name))
    except ValidationError:
        assert not re.fullmatch(r"[a-z0-9-]{1,64}", name)
        return
    root = publish.slot("/sink", config.name, DAY).root
    assert Path(os.path.normpath(root)) == root
    assert root.parent == Path("/sink")


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        Config.model_validate(named(name))


@given(st.one_of(st.text(max_size=20), st.from_regex(r"2026-11-22[./\n~-]?.{0,8}")))
def test_a_date_is_refused_or_is_a_date_and_nothing_else(day: str) -> None:
    tree = {**named("toy"), "run_date": day}
    try:
        config = Config.model_validate(tree)
    except ValidationError:
        return
    place = publish.slot("/sink", "toy", config.run_date.isoformat())
    assert re.fullmatch(r"run_date=\d{4}-\d\d-\d\d", place.live("predictions").name)
    assert place.live("predictions").parent == Path("/sink/toy/predictions")


@pytest.mark.parametrize("day", ["../2026-11-22", "2026-11-22/..", "2026-11-22\n", "..", "", "2026-11-22\0"])
def test_a_date_that_leads_elsewhere_is_refused(tmp_path: Path, day: str) -> None:
    conf = tmp_path / "c.json"
    conf.write_text(json.dumps({k: v for k, v in named("toy").items() if k != "run_date"}))
    with pytest.raises(ConfigInvalid, match="run_date: found"):
        load_config(conf, run_date=day)


# --- hostile names and values, in a real run ---

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e${7*7}{{7*7}}'


class Tags(html.parser.HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(f"{name}=" for name, _ in attrs if name.startswith("on"))}


class Hostile:
    """The sum of its columns; of a negative one it says something evil."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        if (frame.iloc[:, 0] < 0).any():
            raise ValueError(HOSTILE)
        return frame.sum(axis=1).to_numpy(np.float64)


def test_names_and_values_of_a_hostile_input_are_text_on_the_page_and_files_of_the_sink(
    spark: SparkSession, tmp_path: Path
) -> None:
    column = HOSTILE.replace("/", "|")
    folder = tmp_path / "models" / column[:60].replace("|", " ")
    signed = signature({column: "double"}, {"prediction": "double"})
    uri = save(Hostile(), folder, signed)
    frame = pd.DataFrame({"id": [HOSTILE, "../../up", "=1+1"], column: [1.0, -1.0, 2.0]})
    lay_out(tmp_path / "in", frame)
    rule = {"type": "expect_column_values_to_be_between", "kwargs": {"column": column, "max_value": 1}}
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    quality = {"input": suite(tmp_path, "in", {**rule, "severity": "warning"}), "max_quarantined": 0.5}
    tree = settings(tmp_path, uri, quality=quality, drift={"baseline": "none"})
    tree["model"]["allow_pickle"] = True
    tree["source"]["path"] = f"{tmp_path}/in/{DAY}"
    record = run_batch(Config.model_validate({**tree, "run_date": DAY}), spark)
    assert record.rows == {"read": 3, "scored": 2, "quarantined": 1}
    written = {p for p in tmp_path.rglob("*") if p.is_file()} - before - {tmp_path / "in.json"}
    outside = [p for p in written if not p.is_relative_to(tmp_path / "out" / "toy")]
    assert [p.name for p in outside if not p.name.startswith("unused.db")] == []
    pages = list((tmp_path / "out" / "toy" / "reports").rglob("*.html"))
    assert len(pages) == 2
    for page in pages:
        tags = Tags()
        tags.feed(page.read_text("utf-8"))
        assert "table" in tags.found or "svg" in tags.found
        assert tags.found & {"script", "img", "iframe", "object", "form", "onerror=", "onload="} == set()
    shown = Path(record.paths["report"]).read_text("utf-8")
    assert "&lt;script&gt;alert(1)" in shown


# --- secrets and sensitive values, in real runs ---

TOKEN = "c4n'ry\"<t0ken>&\\value"  # asked for by the configuration, with all that is escaped somewhere
AMBIENT = "amb1ent-p4ssphrase-of-mlflow"  # merely there
ENGINES = ("udf", "scan")
FINE, POISONED, REFUSED = "2026-11-20", "2026-11-21", "2026-11-22"
PERSON = re.compile(rb"Person-\d|Poison-\d")


class Gossip:
    """The value of ``a``; of a poisoned name it tells all it knows."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        for name in frame["name"]:
            if name.startswith("Poison"):
                known = (os.environ["MLFLOW_TRACKING_PASSWORD"], os.environ["TOY_TOKEN"])
                raise ValueError(f"cannot score '{name}', https://me:{known[0]}@host/?token={known[1]}")
        return frame["a"].to_numpy(np.float64)


def people(rows: int, poisoned: int) -> pd.DataFrame:
    names = [f"{'Poison' if i < poisoned else 'Person'}-{i % 40}" for i in range(rows)]
    values = np.random.default_rng(1).normal(size=rows)
    return pd.DataFrame({"id": range(rows), "a": values, "name": names})


@dataclass
class Told:
    """What runs have left: their lines, what they said, their files."""

    home: Path
    out: str
    err: str

    def records(self, engine: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out.splitlines()[ENGINES.index(engine)])["runs"]
        return found

    def texts(self) -> dict[str, bytes]:
        """Everything that was written, readable: Parquet is compressed."""
        files = [
            p for top in ("out", "tracking", *ENGINES) for p in (self.home / top).rglob("*") if p.is_file()
        ]
        return {
            **{str(p.relative_to(self.home)): _content(p) for p in files},
            "stdout": self.out.encode(),
            "stderr": self.err.encode(),
        }


def _content(path: Path) -> bytes:
    if path.suffix != ".parquet":
        return path.read_bytes()
    table = pq.read_table(path, partitioning=None)
    return str((table.to_pylist(), table.schema.metadata)).encode() + path.read_bytes()


def environment() -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK", "MLFLOW"))}
    return {
        **plain, "PYSPARK_PYTHON": sys.executable, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "TOY_TOKEN": TOKEN, "MLFLOW_TRACKING_PASSWORD": AMBIENT,
    }  # fmt: skip


def started(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip


def lay_out_runs(home: Path) -> list[str]:
    """A day that is published, one on which the model fails as a whole, one that is refused; returns their
    configurations, with secrets wherever there may be some."""
    from pipelines.profiles import baseline_from_pandas
    from pipelines.registry import log_baseline

    folder = home / f"m {TOKEN}"  # so that the address of the model holds the secret
    folder.mkdir()
    signed = signature({"a": "double", "name": "string"}, {"prediction": "double"})
    uri = save(Gossip(), folder / "toy-model", signed)
    train = people(400, 0)
    log_baseline(Path(uri), baseline_from_pandas(train[["a", "name"]], train["a"].rename("prediction")))
    for day, poisoned in ((FINE, 2), (POISONED, 300), (REFUSED, 30)):
        lay_out(home / "in", people(300, poisoned), day)
    values = {"column": "name", "value_set": ["nobody"]}
    rules = suite(
        folder,
        "in",
        {"type": "expect_column_values_to_be_in_set", "kwargs": values, "severity": "warning"},
        {"type": "expect_column_most_common_value_to_be_in_set", "kwargs": values, "severity": "warning"},
    )
    (home / "tracking").mkdir()
    tree = settings(home, f"{home}/m ${{TOY_TOKEN}}/toy-model")
    tree["model"]["allow_pickle"] = True
    suite_of = rules.replace(TOKEN, "${TOY_TOKEN}")
    tree |= {
        "quality": {"input": suite_of, "max_quarantined": 0.05, "sensitive": ["NAME"]},
        "tracking_uri": f"sqlite:///{home}/tracking/mlflow.db",
    }
    confs = [home / f"{engine}.json" for engine in ENGINES]
    for conf in confs:
        own = {"scoring": {"engine": conf.stem}, "sink": {"path": f"{home}/{conf.stem}"}}
        conf.write_text(json.dumps(tree | own))
    return [str(conf) for conf in confs]


BOTH = f"""
import sys
from jobs.run_batch import command
from jobs.streams import claim_stdout
line = claim_stdout()
for conf in sys.argv[1:]:
    days = ["--from", "{FINE}", "--to", "{REFUSED}", "--keep-going", "--log-format", "json"]
    command.main(["--config", conf, *days], standalone_mode=False, obj=line)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Three runs with each engine, in one process, as starting one takes long."""
    home = tmp_path_factory.mktemp("told")
    done = started("-c", BOTH, *lay_out_runs(home))
    assert len(done.stdout.splitlines()) == len(ENGINES), done.stderr[-3000:]
    return Told(home, done.stdout, done.stderr)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_runs_end_as_they_are_meant_to(told: Told, engine: str) -> None:
    records = told.records(engine)
    assert [r["exit_code"] for r in records] == [0, 70, 65], told.err[-3000:]
    assert records[0]["rows"] == {"read": 300, "scored": 298, "quarantined": 2}
    assert records[0]["spark"]["engine"] == engine
    assert records[0]["warnings"] == []  # logged to MLflow, too
    assert len(records[0]["checks"]["input"]["failed"]) == 2


@pytest.mark.parametrize("secret", [TOKEN, AMBIENT], ids=["used", "merely there"])
def test_no_secret_is_in_any_file_log_line_or_mlflow_field(told: Told, secret: str) -> None:
    forms = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], secret.replace("'", "&#39;")}
    texts = told.texts()
    for place in ("tracking/mlflow.db", *(f"{engine}/toy/reports/index.html" for engine in ENGINES)):
        assert texts[place]
    assert [n for n, text in texts.items() for f in forms if f.encode() in text] == []


def test_sensitive_values_are_in_the_quarantine_and_nowhere_else(told: Told) -> None:
    holding = {name for name, text in told.texts().items() if PERSON.search(text)}
    tables = {n for n in holding if n.endswith(".parquet")}
    assert {n.split("/")[2] for n in tables} == {"quarantine", "refused"}
    states = {
        n for n in holding if n.endswith(".profile")
    }  # what later runs compare with: no text for people
    assert holding == tables | states


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_model_said_is_told_by_its_class(told: Told, engine: str) -> None:
    _, failed, refused = told.records(engine)
    assert "ValueError: ***" in failed["error"]["message"]
    assert "ValueError: *** (30)" in refused["error"]["message"]
    kept = pq.read_table(Path(refused["paths"]["quarantine"]), partitioning=None)
    said = kept["reasons"].to_pylist()[0]
    assert said[-1] == "ValueError: cannot score 'Poison-0', https://***@host/?token=***"


@pytest.mark.parametrize(
    ("sections", "code", "words"),
    [
        (
            {"model": {"uri": "models:/toy@champion"}, "tracking_uri": "http://me:p4ss@w0rd@127.0.0.1:1"},
            69,
            "cannot get 'models:/toy@champion'",
        ),
        ({"model": {"uri": "ftp://me:p4ss/w0rd@host/${TOY_TOKEN}"}}, 78, "found 'ftp://***@host/***'"),
        ({"model": {"uri": ["https://me:p4ss:w0rd@host"]}}, 78, "found ['https://***@host']"),
        ({"source": {"format": "${TOY_TOKEN}", "path": "x"}}, 78, "source.format: found '***'"),
    ],
)
def test_a_run_that_cannot_begin_tells_no_secret(
    tmp_path: Path, sections: dict[str, Any], code: int, words: str
) -> None:
    if "model" not in sections:
        sections = {**sections, "model": {"uri": str(tmp_path)}}
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps({**settings(tmp_path, ""), **sections}))
    lay_out(tmp_path / "in", people(1, 0))
    done = started("-m", "jobs.run_batch", "--config", str(conf), "--run-date", DAY)
    assert done.returncode == code, done.stderr
    said = Told(tmp_path, done.stdout, done.stderr)
    assert words in json.loads(done.stdout)["error"]["message"]
    hidden = [TOKEN, repr(TOKEN)[1:-1], json.dumps(TOKEN)[1:-1], AMBIENT, "p4ss", "w0rd"]
    assert [n for n, text in said.texts().items() for h in hidden if h.encode() in text] == []


def test_the_exception_of_a_notebook_s_run_tells_no_secret(tmp_path: Path) -> None:
    lay_out(tmp_path / "in", people(1, 0))
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps(settings(tmp_path, "/nowhere/${TOY_TOKEN}/m")))
    config = load_config(conf, run_date=DAY, environ={"TOY_TOKEN": TOKEN})
    with pytest.raises(ModelUnavailable, match="there is no folder") as caught:
        run_batch(config)
    assert TOKEN not in caught.value.message
    assert "***" in caught.value.message


# --- how secrets are known and found ---


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("MLFLOW_TRACKING_PASSWORD", "correcthorse", True),
        ("PGPASSWORD", "hunter2hunter2", True),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG", True),
        ("GITHUB_TOKEN", "ghp_0123456789", True),
        ("API_KEY", "0123-4567-89", True),
        ("DB_PWD", "s3cr3t-s3cr3t", True),
        ("TOKENIZERS_PARALLELISM", "false-or-so-1", False),
        ("SORT_KEY", "timestamp", False),
        ("PASSWORD", "short", False),
        ("OLDPWD", "/nowhere-at-all", False),
        ("GOOGLE_APPLICATION_CREDENTIALS", __file__, False),
        ("HOME", "/nowhere/somebody", False),
        ("MONKEY_ISLAND", "guybrush-1990", False),
    ],
)
def test_a_variable_is_a_secret_by_its_name_and_its_value(name: str, value: str, secret: bool) -> None:
    assert named_like_secrets({name: value}) == ([value] if secret else [])


def test_a_variable_that_another_thread_takes_away_meanwhile_is_none() -> None:
    class Fading(dict[str, str]):
        def __iter__(self) -> Iterator[str]:  # os.environ is asked for its names first, as here
            yield from ("MY_TOKEN", "OTHER_TOKEN")

    assert named_like_secrets(Fading(OTHER_TOKEN="gh-0123-4567")) == ["gh-0123-4567"]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://me:p@ss@host/x", "http://***@host/x"),
        ("http://me:p/ss@host/x", "http://***@host/x"),
        ("redis://:pw@host", "redis://***@host"),
        ("postgresql+psycopg2://me:pw@db/x", "postgresql+psycopg2://***@db/x"),
        ("mlflow+http://me@host and a@b", "mlflow+http://***@host and a@b"),
        ("https://h/x?access_token=abc&Signature=d%2Be", "https://h/x?access_token=***&Signature=***"),
        ("https://h/x?X-Goog-Signature=abc&AWSAccessKeyId=d", "https://h/x?X-Goog-Signature=***&AWSAccessKeyId=***"),
        ("{'Authorization': 'Bearer abc.def-ghi'}", "{'Authorization': 'Bearer ***'}"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("file:///data/a@b.csv", "file:///data/a@b.csv"),
        ("https://host/a@b", "https://host/a@b"),
        ("basic authentication", "basic authentication"),
    ],
)  # fmt: skip
def test_passwords_are_found_in_all_kinds_of_addresses(text: str, clean: str) -> None:
    assert redact(text, ()) == clean


@pytest.mark.parametrize(
    "text", ["{!r}", "{!a}", "['x', {!r}]"],
)  # fmt: skip
def test_a_secret_is_found_quoted_too(text: str) -> None:
    assert "t0ken" not in mask(text.format(TOKEN), [TOKEN])


def test_a_secret_is_found_escaped_in_json_pages_and_addresses() -> None:
    from urllib.parse import quote

    from markupsafe import escape

    for text in (json.dumps({"x": TOKEN}), str(escape(TOKEN)), quote(TOKEN), quote(TOKEN, safe="")):
        assert "t0ken" not in mask(text, [TOKEN])


def test_a_message_that_was_cut_within_a_secret_does_not_tell_its_beginning() -> None:
    secret = "abcdefgh-ijklmnop-qrstuvwx-yz012345"
    for cut in range(18, 35):
        assert mask(f"cannot reach {secret[:cut]}", [secret]) == "cannot reach ***"
        assert mask(f"{secret[:cut]}! and {secret[:cut]}", [secret]) == "***! and ***"
    assert mask(f"{secret[:8]} is a word", [secret]) == f"{secret[:8]} is a word"


def test_of_a_secret_of_several_lines_none_is_told() -> None:
    key = "-----BEGIN-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END-----"
    assert mask("failed: MIIEvQIBADANBgkq", [key]) == "failed: ***"


def test_values_of_options_that_are_named_like_secrets_are_secrets() -> None:
    options = {"encryption.key": "plainly-written", "key.cache": "true", "header": "false"}
    tree = {"source": {"options": options}, "name": "toy"}
    assert config_files.expand(tree, "", {})[2] == ["plainly-written"]


@pytest.mark.parametrize("path", ["source.options.password", "notify.webhook.url"])
def test_an_override_that_fails_does_not_repeat_a_secret(path: str) -> None:
    (said,) = config_files.override({}, f"{path}=[s3cr3t")
    assert "s3cr3t" not in said
    assert path in said
