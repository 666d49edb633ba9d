"""Configuration: what is accepted, and what is said about everything else, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Config, load_config
from pipelines.errors import ConfigInvalid

GOOD = """
name: machines
model: {uri: "models:/machines@champion"}
source: {format: parquet, path: "data/{run_date}"}
"""
DAY = "2026-11-22"


def load(
    folder: Path, text: str, *overrides: str, environ: Mapping[str, str] | None = None, day: Any = DAY
) -> Config:
    file = folder / "pipeline.yaml"
    file.write_text(text, "utf-8")
    return load_config(file, run_date=day, overrides=overrides, environ=environ or {})


def complaint(
    folder: Path, text: str, *overrides: str, environ: Mapping[str, str] | None = None, day: Any = DAY
) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load(folder, text, *overrides, environ=environ, day=day)
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_a_short_file_is_completed_with_the_defaults_of_the_contract(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.model.predict == "predict"
    assert config.quality.max_quarantined == 0.01
    assert (config.drift.baseline, config.drift.on_drift) == ("model", "warn")
    assert (config.drift.thresholds.js_distance, config.drift.thresholds.wasserstein) == (0.1, 0.1)
    assert config.sink.path == "out"
    assert config.source.key == ()


@pytest.mark.parametrize("day", [DAY, date(2026, 11, 22), datetime(2026, 11, 22, 13, 5)])  # noqa: DTZ001
def test_the_logical_date_is_filled_into_the_source_path(tmp_path: Path, day: Any) -> None:
    config = load(tmp_path, GOOD, day=day)
    assert config.source.path == "data/2026-11-22"
    assert config.run_date == date(2026, 11, 22)


@pytest.mark.parametrize("day", ["22.11.2026", "2026-13-01", "20261122", "2026-11-22T00:00:00", "today", ""])
def test_a_date_that_is_none_is_refused(tmp_path: Path, day: str) -> None:
    assert f"run_date: found {day!r}, expected a date such as 2026-11-22" in complaint(
        tmp_path, GOOD, day=day
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nmae: x", "nmae: unknown key; did you mean 'name'?"),
        ("source: {pth: x}", "source.pth: unknown key; did you mean 'path'?"),
        ("source: {key: id}", "source.key: found 'id'; expected a list"),
        ("source: {key: [1]}", "source.key[0]: found 1; expected text"),
        ("source: {format: excel}", "source.format: found 'excel'; input should be 'csv' or 'parquet'"),
        ("source: {path: 7}", "source.path: found 7; expected text"),
        ("source: {columns: [a]}", "source.columns: found ['a']; expected a section"),
        ("source: nothing", "source: found 'nothing'; expected a section"),
        ("name: Big Name", "name: found 'Big Name'"),
        ("name: ../up", "name: found '../up'"),
        ('name: "machines\\n"', "name: found 'machines\\n'"),
        ("model: {}", "model.uri: missing"),
        ("model: {uri: x, digest: abc}", "model.digest: found 'abc'"),
        ("model: {uri: x, predict: __class__}", "model.predict: found '__class__'"),
        (
            "quality: {max_quarantined: 1.5}",
            "quality.max_quarantined: found 1.5; input should be less than or equal to 1",
        ),
        ("quality: {max_quarantined: true}", "quality.max_quarantined: found True; expected a number"),
        ("quality: {max_quarantined: .nan}", "quality.max_quarantined: found nan"),
        (
            "quality: {max_quarantine: 0.5}",
            "quality.max_quarantine: unknown key; did you mean 'max_quarantined'?",
        ),
        (
            "drift: {on_drift: stop}",
            "drift.on_drift: found 'stop'; input should be 'warn', 'alert' or 'block'",
        ),
        (
            "drift: {thresholds: {psi: 1}}",
            "drift.thresholds.psi: unknown key; known here: js_distance, wasserstein, columns, volume, quarantined",
        ),
        ("drift: {slices: region}", "drift.slices: found 'region'; expected a list"),
        ("drift: {slices: [true]}", "drift.slices[0]: found True; expected text"),
        ("drift: {thresholds: {volume: -1}}", "drift.thresholds.volume: found -1"),
        ("drift: {thresholds: {quarantined: 2}}", "drift.thresholds.quarantined: found 2"),
        (
            "drift: {thresholds: {columns: {age: {js_distanc: 1}}}}",
            "drift.thresholds.columns.age.js_distanc: unknown key; did you mean 'js_distance'?",
        ),
        ("drift: {thresholds: {wasserstein: .inf}}", "drift.thresholds.wasserstein: found inf"),
        ("run_date: 2026-11-22", "run_date: found in the file, expected on the command line"),
        ("source: {format: parquet, path: x, types: {a: int}}", "source: header and types are for CSV"),
        ("7: x", "[7]: found 7; keys should be strings"),
    ],
)
def test_a_wrong_entry_is_named_with_its_path_and_what_was_expected(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in complaint(tmp_path, text)


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    text = """
    nmae: machines
    model: {uri: "models:/${NAME}@champion", predict: 3}
    source: {format: csv, path: "${FOLDER}/x", key: id}
    quality: {max_quarantined: 2}
    """
    message = complaint(tmp_path, text, "sink", "drift.on_drift=[", "drift.on_drift=maybe", day="soon")
    for said in (
        "11 problem(s)", "nmae: unknown key", "name: missing", "model.predict", "source.key", "quality.max_quarantined",
        "model.uri: the environment variable NAME is not set",
        "source.path: the environment variable FOLDER is not set",
        "--set 'sink'", "--set 'drift.on_drift=['", "drift.on_drift: found 'maybe'", "run_date: found 'soon'",
    ):  # fmt: skip
        assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found NoneType, expected a mapping"),
        ("- a\n- b\n", "found list, expected a mapping"),
        ("name: [", "not valid YAML"),
        ("name: a\nname: b\n", "name twice in one section"),
        ("model: {uri: a, uri: b}", "uri twice in one section"),
        ("name: !!python/object/apply:os.system [true]", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in complaint(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"nowhere\.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "nowhere.yaml", run_date=DAY)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigInvalid, match="not valid YAML"):
        load_config(tmp_path / "x.yaml", run_date=DAY)


def test_an_empty_section_means_its_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + "quality:\ndrift:\n", "drift.on_drift=block")
    assert config.quality.max_quarantined == 0.01
    assert config.drift.on_drift == "block"


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("sink.path=/mnt/out", "sink", "path", "/mnt/out"),
        ("quality.max_quarantined=0.5", "quality", "max_quarantined", 0.5),
        ("source.key=[id, site]", "source", "key", ("id", "site")),
        ("source.options={sep: ';'}", "source", "options", {"sep": ";"}),
        ("source.options.sep=';'", "source", "options", {"sep": ";"}),
        ("source.path=a=b", "source", "path", "a=b"),
        ("source.path=days/{run_date}", "source", "path", "days/2026-11-22"),
        ("model.allow_pickle=true", "model", "allow_pickle", True),
        ("quality.input=null", "quality", "input", None),
    ],
)
def test_an_override_wins_over_the_file(
    tmp_path: Path, override: str, section: str, field: str, value: Any
) -> None:
    config = load(tmp_path, GOOD + "quality: {input: suite.json}\n", override)
    assert getattr(getattr(config, section), field) == value


def test_of_two_overrides_the_later_wins(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD, "sink.path=a", "sink.path=b").sink.path == "b"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sink.path", "expected key.path=value"),
        ("=x", "expected key.path=value"),
        ("sink..path=x", "expected key.path=value"),
        ("name.first=x", "'name' is a value, expected a section"),
        ("sink.path=[1", "the value is not valid YAML"),
        ("sink.paht=x", "sink.paht: unknown key; did you mean 'path'?"),
        ("run_date=2026-11-23", "expected on the command line"),
    ],
)
def test_an_override_that_cannot_be_is_named(tmp_path: Path, override: str, said: str) -> None:
    assert said in complaint(tmp_path, GOOD, override)


def test_environment_variables_are_replaced_in_values_at_any_depth(tmp_path: Path) -> None:
    text = (
        GOOD + "tracking_uri: http://${USER}:${MLFLOW_TOKEN}@host\nquality: {max_quarantined: '${SHARE}'}\n"
    )
    environ = {"USER": "ann", "MLFLOW_TOKEN": "s3cr3t", "SHARE": "0.25", "SITE": "site"}
    config = load(tmp_path, text, "source.key=['${SITE}']", environ=environ)
    assert config.tracking == "http://ann:s3cr3t@host"
    assert config.quality.max_quarantined == 0.25
    assert config.source.key == ("site",)


def test_secrets_are_known_to_be_secret_and_never_part_of_a_message(tmp_path: Path) -> None:
    environ = {"DB_PASSWORD": "hunter2's", "PLACE": "here"}
    text = GOOD + "tracking_uri: postgresql://me:${DB_PASSWORD}@${PLACE}/db\n"
    assert load(tmp_path, text, environ=environ).secrets == ("hunter2's",)
    message = complaint(tmp_path, text, "drift.on_drift=${DB_PASSWORD}", environ=environ)
    assert "drift.on_drift: found" in message
    assert "hunter2" not in message


def test_the_tracking_uri_falls_back_to_the_environment_then_to_a_local_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry")
    assert load(tmp_path, GOOD).tracking == "http://registry"
    assert load(tmp_path, GOOD, "tracking_uri=sqlite:///here.db").tracking == "sqlite:///here.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert load(tmp_path, GOOD).tracking == "sqlite:///mlflow.db"


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("sink.path=elsewhere", True),
        ("tracking_uri=http://other", True),
        ("model.uri=models:/machines/7", True),  # the version's own digest counts beside this one
        ("source.key=[id]", False),
        ("model.predict=predict_proba", False),
        ("quality.max_quarantined=0.02", False),
        ("drift.thresholds.js_distance=0.2", False),
    ],
)
def test_the_digest_covers_what_decides_the_outputs(tmp_path: Path, override: str, same: bool) -> None:
    assert (load(tmp_path, GOOD).digest() == load(tmp_path, GOOD, override).digest()) is same


def test_the_digest_follows_the_text_of_a_suite_and_not_its_path(tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text("{}")
    b.write_text("{}")
    with_a, with_b = (load(tmp_path, GOOD, f"quality.input={p}") for p in (a, b))
    assert with_a.digest() == with_b.digest()
    b.write_text('{"name": "x"}')
    assert with_a.digest() != with_b.digest()


def test_a_date_of_its_own_gives_a_digest_of_its_own(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).digest() != load(tmp_path, GOOD, day="2026-11-23").digest()


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    with pytest.raises(ValueError, match="frozen"):
        config.name = "other"
