"""A configuration proposed from a model and a sample runs as it is, and says what it was drawn from."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from jobs.init_pipeline import command
from pipelines import input_files, load_config, profiles, run_batch, sample, suite_proposal
from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.expectations import load_suite
from pipelines.records import ModelColumn
from pipelines.registry import log_baseline
from pipelines.scaffold import Scaffold, Wish, scaffold
from pipelines.source_proposal import dated, propose, same_but_for_spelling

DAY = "2026-11-22"
ROOT = Path(__file__).resolve().parent.parent
TYPES = {
    "machine type": "string", "note": "string", "is new": "boolean", "serviced": "datetime",
    "torque": "double", "vibration.rms": "double", "gears": "long",
}  # fmt: skip
OPTIONAL = ("note", "vibration.rms")


def training_frame(rows: int = 400, seed: int = 5) -> pd.DataFrame:
    """The model's inputs: a category, names, a flag, a time, two measurements and a code."""
    rng = np.random.default_rng(seed)
    days = pd.to_datetime("2026-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    return pd.DataFrame({
        "machine type": rng.choice(["H", "L", "M"], rows),
        "note": [None if i % 10 == 0 else f"remark {i} of {rng.integers(99)}" for i in range(rows)],
        "is new": rng.random(rows) < 0.5,
        "serviced": days.astype("datetime64[us]"),
        "torque": rng.normal(40, 10, rows),
        "vibration.rms": np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows)),
        "gears": rng.integers(3, 7, rows),
    })  # fmt: skip


def source_frame() -> pd.DataFrame:
    """The same as a source has it: other spelling, an id, columns that the model does not read."""
    frame = training_frame(300, seed=6).rename(columns={"machine type": "Machine_Type", "is new": "isNew"})
    frame.insert(0, "machine_id", np.arange(300) + 2**53)
    frame["shift"] = np.where(np.arange(300) % 2, "day", "night")
    return frame


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that reads text, flags and numbers, without a baseline."""
    import mlflow.sklearn
    import sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = training_frame()
    prepared = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["machine type"]),
        ("passthrough", ["is new", "torque", "gears"]),
    )
    fitted = make_pipeline(prepared, LogisticRegression(max_iter=1000)).fit(frame, labels_of(frame))
    inputs = Schema([ColSpec(kind, name, required=name not in OPTIONAL) for name, kind in TYPES.items()])
    folder = tmp_path_factory.mktemp("models") / "bare"
    mlflow.sklearn.save_model(
        fitted,
        str(folder),
        signature=ModelSignature(inputs, Schema([ColSpec("string")])),
        serialization_format="skops",
        pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
    )
    return folder


@pytest.fixture(scope="module")
def model(bare: Path) -> Path:
    """The same with the baseline of its training data."""
    frame = training_frame()
    return with_baseline(bare, "Machine Failure", profiles.baseline_from_pandas(frame, labels_of(frame)))


def labels_of(frame: pd.DataFrame) -> np.ndarray:
    return np.where(frame["torque"] > 42, "fails", "works")


def with_baseline(bare: Path, name: str, baseline: dict[str, Any]) -> Path:
    folder = Path(shutil.copytree(bare, bare.parent / name))
    log_baseline(folder, baseline)
    return folder


def lay_out(home: Path, frame: pd.DataFrame, form: str = "parquet") -> str:
    """A day of input; the path of its folder."""
    folder = home / "in" / DAY
    folder.mkdir(parents=True)
    if form == "csv":
        frame.to_csv(folder / "part.csv", index=False, sep=";")
    else:
        frame.to_parquet(folder / "part.parquet", index=False)
    return str(folder)


def proposed(
    home: Path, model: Path, frame: pd.DataFrame | None = None, form: str = "parquet", **more: Any
) -> Scaffold:
    where = lay_out(home, source_frame() if frame is None else frame, form)
    return scaffold(Wish(str(model), where, out=f"{home}/conf", **more))


def door(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the line of the command."""
    line = io.StringIO()
    code = command.main(list(arguments), standalone_mode=False, obj=line)
    return code, json.loads(line.getvalue())


def rules(done: Scaffold, suite: int = 1) -> dict[tuple[str, str | None], dict[str, Any]]:
    """The expectations of a written suite by rule name, or type, and column."""
    document = json.loads(Path(done.files[suite]).read_text("utf-8"))
    named = [
        (e.get("meta", {}).get("name", e["type"]).partition("(")[0], e) for e in document["expectations"]
    ]
    return {(name, e["kwargs"].get("column")): e for name, e in named}


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_what_is_proposed_runs_as_it_is_and_quarantines_nothing(
    form: str, model: Path, spark: SparkSession, tmp_path: Path
) -> None:
    done = proposed(tmp_path, model, form=form)
    assert done.name == "machine-failure"
    assert done.key == ("machine_id",)
    assert done.columns == {"machine type": "Machine_Type", "is new": "isNew"}
    config = load_config(done.files[0], run_date=DAY, overrides=[f"sink.path={tmp_path}/out"])
    assert config.source.path == f"{tmp_path}/in/{DAY}"
    record = run_batch(config, spark=spark).to_dict()
    assert (record["status"], record["rows"]) == ("published", {"read": 300, "scored": 300, "quarantined": 0})
    assert record["drift"]["reference"] == "model"
    for kind, path in zip(("input", "output"), done.files[1:], strict=True):
        assert record["checks"][kind]["failed"] == []
        assert record["checks"][kind]["extra_passes"] == 0
        assert len(load_suite(path, kind).rules) == record["checks"][kind]["evaluated"] > 1
    published = spark.read.parquet(record["paths"]["predictions"])
    assert published.schema["machine_id"].dataType.simpleString() == "bigint"


@pytest.mark.parametrize(
    ("rule", "column", "severity", "kwargs"),
    [
        ("unknown_value", "Machine_Type", "warning", {"value_set": ["H", "L", "M"], "mostly": 0.99}),
        ("unknown_value", "gears", "warning", {"value_set": [3, 4, 5, 6], "mostly": 0.99}),
        ("unusual", "note", "warning", {"min_value": 14, "max_value": 32, "mostly": 0.99}),
        ("unusual", "serviced", "warning", {"min_value": "2025-03-08", "mostly": 0.99}),
        ("expect_column_values_to_not_be_null", "torque", "warning", {}),
        ("expect_column_values_to_be_of_type", "torque", "warning", {"type_": "DoubleType"}),
        ("expect_column_values_to_be_of_type", "isNew", "warning", {"type_": "BooleanType"}),
        ("expect_table_row_count_to_be_between", None, "warning", {"min_value": 30, "max_value": 3000}),
    ],
)
def test_a_suite_says_what_signature_baseline_and_sample_say(
    rule: str, column: str | None, severity: str, kwargs: dict[str, Any], model: Path, tmp_path: Path
) -> None:
    found = rules(proposed(tmp_path, model))[rule, column]
    assert found["severity"] == severity
    assert {k: v for k, v in found["kwargs"].items() if k != "column"} == kwargs


def test_only_absurd_numbers_and_missing_columns_are_critical_for_inputs(model: Path, tmp_path: Path) -> None:
    found = rules(proposed(tmp_path, model))
    critical = {key for key, e in found.items() if e["severity"] == "critical"}
    assert critical == {
        ("expect_table_columns_to_match_set", None), ("out_of_range", "torque"), ("out_of_range", "vibration.rms")
    }  # fmt: skip
    assert set(found["expect_table_columns_to_match_set", None]["kwargs"]["column_set"]).isdisjoint(OPTIONAL)
    assert ("out_of_range", "gears") not in found


def test_a_sample_beyond_the_baseline_widens_what_is_absurd(model: Path, tmp_path: Path) -> None:
    frame = source_frame()
    frame.loc[0, "torque"] = 1e6
    found = rules(proposed(tmp_path, model, frame))
    assert found["out_of_range", "torque"]["kwargs"]["max_value"] > 1e6
    assert found["unusual", "torque"]["kwargs"]["max_value"] < 100
    assert "sample" in found["out_of_range", "torque"]["notes"]


def test_classes_of_the_baseline_are_expected_of_predictions(model: Path, tmp_path: Path) -> None:
    found = rules(proposed(tmp_path, model), suite=2)
    assert found["expect_column_values_to_not_be_null", "prediction"]["severity"] == "critical"
    assert found["unknown_value", "prediction"]["kwargs"]["value_set"] == ["fails", "works"]


def test_without_a_baseline_only_the_signature_speaks_and_a_hint_says_how_to_log_one(
    bare: Path, tmp_path: Path
) -> None:
    done = proposed(tmp_path, bare)
    assert any("log_baseline" in text for text in done.warnings)
    kinds = {name for name, _ in (*rules(done), *rules(done, suite=2))}
    assert not kinds & {"out_of_range", "unusual", "unknown_value"}
    assert load_config(done.files[0], run_date=DAY).drift.baseline == "previous"
    assert [len(load_suite(p, "input").rules) for p in done.files[1:]] == list(done.expectations.values())


def test_files_that_exist_are_refused_and_left_alone_unless_forced(model: Path, tmp_path: Path) -> None:
    arguments = [
        "--model",
        str(model),
        "--sample",
        lay_out(tmp_path, source_frame()),
        "--out",
        f"{tmp_path}/conf",
    ]
    edited = tmp_path / "conf" / "expectations" / "machine-failure.output.json"
    edited.parent.mkdir(parents=True)
    edited.write_text("mine")
    code, line = door(*arguments)
    assert (code, line["status"]) == (64, "failed")
    assert "machine-failure.output.json" in line["error"]["message"]
    assert [p.read_text() for p in (tmp_path / "conf").rglob("*.*")] == ["mine"]
    code, line = door(*arguments, "--force")
    assert (code, line["status"], line["run_date"]) == (0, "written", DAY)
    assert all(Path(p).stat().st_size > 4 for p in line["files"])


@pytest.mark.parametrize(
    ("option", "value", "code", "message"),
    [
        ("--sample", "nowhere", 66, "nothing to read at 'nowhere'"),
        ("--model", "nowhere", 69, "no folder 'nowhere'"),
        ("--model", "s3://bucket/model", 78, "expected models:/NAME/VERSION"),
        ("--name", "No Name", 64, "found 'No Name'"),
        ("--key", "machine_ID", 78, "column 'machine_ID' is missing; near: 'machine_id'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_exit_code_of_the_contract(
    option: str, value: str, code: int, message: str, model: Path, tmp_path: Path
) -> None:
    given = {
        "--model": str(model),
        "--sample": lay_out(tmp_path, source_frame()),
        "--out": f"{tmp_path}/conf",
    }
    found, line = door(*(text for pair in {**given, option: value}.items() for text in pair))
    assert (found, line["exit_code"]) == (code, code)
    assert message in line["error"]["message"]
    assert line["error"]["hint"]
    assert not (tmp_path / "conf").exists()


def test_an_unknown_option_is_wrong_usage_and_still_one_line_of_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.init_pipeline", "--modle", "x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (64, 64)


def test_all_missing_columns_are_named_at_once_with_near_misses(model: Path, tmp_path: Path) -> None:
    frame = source_frame().rename(columns={"torque": "torqe"}).drop(columns=["gears", "serviced"])
    frame["isNew"] = "yes"
    with pytest.raises(ConfigInvalid) as caught:
        proposed(tmp_path, model, frame)
    told = str(caught.value)
    assert "'torque' is missing; near: 'torqe'" in told
    assert all(f"column {name!r} is missing" in told for name in ("gears", "serviced"))
    assert "column 'isNew' is string, expected boolean" in told


def test_times_in_nanoseconds_are_refused_because_spark_cannot_read_them(model: Path, tmp_path: Path) -> None:
    frame = source_frame().astype({"serviced": "datetime64[ns]"})
    with pytest.raises(ConfigInvalid, match=r"'serviced' is timestamp\[ns\], which Spark cannot read"):
        proposed(tmp_path, model, frame)


def test_rows_that_will_be_quarantined_are_told_beforehand(model: Path, tmp_path: Path) -> None:
    frame = source_frame().astype({"torque": object})
    frame.loc[:4, "torque"] = "n/a"
    frame.loc[:2, "serviced"] = None
    told = " ".join(proposed(tmp_path, model, frame, "csv").warnings)
    assert "'torque': 5 of 300 rows looked at hold no double, such as 'n/a'" in told
    assert "'serviced': 3 of 300 rows looked at have no value" in told


def test_a_password_in_the_tracking_uri_is_not_written(model: Path, tmp_path: Path) -> None:
    done = proposed(tmp_path, model, tracking_uri="http://me:hidden@mlflow.example")
    assert "hidden" not in "".join(Path(p).read_text() for p in done.files)
    assert any("MLFLOW_TRACKING_URI" in text for text in done.warnings)


def test_probabilities_in_the_baseline_make_the_method_predict_proba(bare: Path, tmp_path: Path) -> None:
    chances = pd.DataFrame({"prediction": ["a", "b"] * 200, "x": [0.25, 0.75] * 200, "y": [0.75, 0.25] * 200})
    folder = with_baseline(bare, "proba", profiles.baseline_from_pandas(training_frame(), chances))
    done = proposed(tmp_path, folder)
    assert load_config(done.files[0], run_date=DAY).model.predict == "predict_proba"
    assert ("expect_column_values_to_not_be_null", "probability") in rules(done, suite=2)


@pytest.mark.parametrize(
    ("wanted", "names", "found"),
    [
        (["mean radius"], ["Mean_Radius"], {"mean radius": "Mean_Radius"}),
        (["a.b"], ["AB"], {"a.b": "AB"}),
        (["a"], ["a", "A"], {}),
        (["a_b"], ["A B", "a-b"], {}),  # which of the two is not ours to guess
        (["a_b", "a b"], ["AB"], {}),
        (["a", "A_"], ["a"], {}),  # a column that is taken by its own name is not taken twice
        (["a"], ["b"], {}),
    ],
)
def test_names_are_mapped_where_only_spelling_differs_and_one_answer_is_possible(
    wanted: list[str], names: list[str], found: dict[str, str]
) -> None:
    assert same_but_for_spelling(wanted, names) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("data/2026-11-22/x.csv", "data/{run_date}/x.csv"),
        ("data/run_date=2026-11-22/2026-11-22.csv", "data/run_date={run_date}/{run_date}.csv"),
        ("data/2026-11-21/2026-11-22.csv", "data/2026-11-21/2026-11-22.csv"),
        ("data/2026-13-22", "data/2026-13-22"),
        ("data/12026-11-223", "data/12026-11-223"),
    ],
)
def test_the_one_date_in_a_path_becomes_the_run_date(path: str, found: str) -> None:
    assert dated(path) == found


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({"code": ["x", "y", "z"], "sampleId": [1, 2, 3]}, ("sampleId",)),
        ({"number": [1.5, 2.5, 3.5], "n": [7, 8, 9]}, ("n",)),  # a measurement is no key
        ({"id": [1, 1, 2]}, ()),
        ({"id": [1, 2, None]}, ()),
        ({"machine_id": [1, 1, 2], "day": pa.array([1, 2, 1], pa.date32())}, ("machine_id", "day")),
        ({"timestamp": [1, 2, 3]}, ()),  # the predictions have a column of this name
        ({"remark": ["x" * 100, "y" * 100, "z" * 100]}, ()),
    ],
)
def test_the_key_is_a_unique_column_that_is_no_feature(columns: dict[str, Any], key: tuple[str, ...]) -> None:
    table = pa.table({"feature": [1.0, 2.0, 3.0], **columns})
    types = {f.name: sample._spark_type(f.type, f.name) for f in table.schema}
    looked = sample.Sample("parquet", (), {}, types, table, 3)
    assert propose("x", looked, [ModelColumn("feature", "double")], (), ("timestamp",)).key == key


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-20", None], "bigint"), (["007", "008"], None), (["1", "2.5"], "double"), (["1e3"], "double"),
        (["12345678901234567890"], "double"), (["true", "False"], "boolean"), (["2026-11-22"], "date"),
        (["2026-11-22 10:00:00"], "timestamp"), (["2026-11-22T10:00:00.5Z"], "timestamp"), (["22.11.2026"], None),
        ([None, None], None), (["1", "x"], None), (["NaN"], None),
    ],
)  # fmt: skip
def test_a_csv_column_gets_a_type_only_where_every_text_reads_as_it(
    texts: list[str | None], kind: str | None
) -> None:
    assert sample.suggested_type(pa.chunked_array([pa.array(texts, pa.string())])) == kind


@pytest.mark.parametrize(
    ("text", "options", "rows"),
    [
        ("a,b\n1,2\n", {}, 1),
        ("a;b\n1;2\n3;4\n", {"sep": ";"}, 2),
        ("a\tb\n1\t2\n", {"sep": "\t"}, 1),
        ('a,b\n"1,1","two\nlines"\n', {"multiLine": True}, 1),
        ("\ufeffa,b\n1,2\n", {}, 1),
        ("a,b\n1,2\n3\n", {}, 1),  # a record of another length is the run's to judge
    ],
)
def test_reader_options_of_a_csv_file_are_found_out(
    text: str, options: dict[str, Any], rows: int, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text(text)
    looked = sample.look(str(tmp_path), input_files.list_files(str(tmp_path)), ["A", "b"])
    assert (looked.options, looked.rows.num_rows, list(looked.types)) == (options, rows, ["a", "b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n", "has 1 file.s. but no rows"),
        (b"", "are empty"),
        ("a,b\n\u00f6,1\n".encode("latin-1"), "cannot be read as CSV"),
        (b"<html>", "HTML or XML"),
        (b"PAR1 and then nothing", "not readable as Parquet"),
    ],
)
def test_a_sample_that_shows_nothing_is_refused_as_input(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputUnavailable, match=message):
        sample.look(str(tmp_path), input_files.list_files(str(tmp_path)))


def test_folder_names_make_columns_only_below_the_sample(tmp_path: Path) -> None:
    for region in ("eu", "us"):
        folder = tmp_path / f"day={DAY}" / f"region={region}"
        folder.mkdir(parents=True)
        pd.DataFrame({"a": [1.0]}).to_parquet(folder / "x.parquet")
    where = str(tmp_path / f"day={DAY}")
    looked = sample.look(where, input_files.list_files(where))
    assert list(looked.types) == ["a", "region"]
    assert sorted(looked.rows["region"].to_pylist()) == ["eu", "us"]
    assert looked.total == 2


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30),
    st.sampled_from(["double", "long"]),
)
def test_all_of_the_baseline_keeps_the_bounds_drawn_from_it(values: list[float], kind: str) -> None:
    if kind == "long":
        values = [int(max(min(v, 2.0**62), -(2.0**62))) for v in values]
    baseline = profiles.load_baseline(profiles.baseline_from_pandas(pd.DataFrame({"x": values})))
    suite = suite_proposal.input_suite(
        "n", [suite_proposal.Input(ModelColumn("x", kind), "x")], baseline, None
    )
    written = json.loads(suite_proposal.to_json(suite))
    assert written == suite
    ranges = [
        e["kwargs"] for e in written["expectations"] if e["type"] == "expect_column_values_to_be_between"
    ]
    for bounds in ranges:
        assert (
            bounds.get("min_value", -np.inf) <= min(values) <= max(values) <= bounds.get("max_value", np.inf)
        )
    sets = [e["kwargs"]["value_set"] for e in written["expectations"] if "value_set" in e["kwargs"]]
    assert all(set(values) == set(found) for found in sets)


@given(st.text(min_size=1), st.lists(st.text(), max_size=3))
def test_any_text_survives_in_the_configuration(text: str, texts: list[str]) -> None:
    from pipelines.scaffold import _flow

    if text.isprintable():
        assert yaml.safe_load(f"a:\n  b: {_flow(text)}\n  c: {_flow(texts)}  # why\n") == {
            "a": {"b": text, "c": texts}
        }
