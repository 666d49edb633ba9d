"""Whole batches on real data sets, and the reader on files made to break readers.

The data are no part of the repository: ``$SCORELINE_TEST_DATA`` or ``../shared/data`` holds them.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Observation, SparkSession
from pyspark.sql import functions as F

from pipelines import failures, run_batch, source
from pipelines.config import Config, Source
from pipelines.errors import InputUnavailable, InvariantBroken, ScorelineError
from pipelines.records import RunRecord
from pipelines.rules import broken_any
from pipelines.session import RUN_SETTINGS, settings

DATA = Path(os.environ.get("SCORELINE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no data sets at {DATA}: set SCORELINE_TEST_DATA to their folder"
)


@dataclass(frozen=True)
class Done:
    """A finished run: its record, its predictions and its quarantine by key."""

    record: RunRecord
    predictions: pd.DataFrame
    quarantine: pd.DataFrame

    def balanced(self, rows: int) -> bool:
        """Read, scored and quarantined agree with each other, with what was published and with ``rows``."""
        found = self.record.rows
        published = (len(self.predictions), len(self.quarantine))
        return (found["read"], sum(published)) == (rows, rows) and published == (
            found["scored"],
            found["quarantined"],
        )


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def run(spark: SparkSession, home: Path) -> Run:
    def call(name: str, model: Any, features: pd.DataFrame, engine: str = "auto", **given: Any) -> Done:
        config = Config.model_validate(
            {
                "name": name,
                "model": {"uri": saved(home / f"{name}-model", model, features)},
                "source": {"format": "csv", **given},
                "scoring": {"engine": engine},
                "quality": {"max_quarantined": 0.2},
                "drift": {"baseline": "none"},
                "sink": {"path": str(home / "out")},
                "tracking_uri": f"sqlite:///{home}/mlflow.db",
                "run_date": date(2026, 11, 22),
            }
        )
        record = run_batch(config, spark)
        tables = [pd.read_parquet(Path(record.paths[t])) for t in ("predictions", "quarantine")]
        return Done(record, *tables)

    return call


def saved(folder: Path, model: Any, features: pd.DataFrame) -> str:
    import mlflow.sklearn
    from mlflow.models import infer_signature

    signature = infer_signature(features, model.predict(features[:50]))
    mlflow.sklearn.save_model(
        model,
        str(folder),
        signature=signature,
        serialization_format="skops",
        pip_requirements=["scikit-learn"],
    )
    return str(folder)


def counted(*files: Path, header: bool = True) -> int:
    """Records in CSV files, by Python's own reader."""
    total = 0
    for file in files:
        with gzip.open(file, "rt", newline="") if file.suffix == ".gz" else file.open(newline="") as text:
            total += sum(1 for record in csv.reader(text) if record) - header
    return total


def same(done: Done, key: str, expected: pd.Series | np.ndarray, keys: pd.Series) -> bool:
    """Predictions are, row by row and bit by bit, what the model itself gives."""
    found = done.predictions.set_index(key)["prediction"].sort_index()
    wanted = pd.Series(np.asarray(expected), index=keys.to_numpy()).sort_index()
    return found.index.equals(wanted.index) and found.tolist() == wanted.tolist()


def test_machines_with_a_byte_order_mark_and_brackets_in_names(run: Run) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    file = DATA / "ai4i2020" / "ai4i2020.csv"
    frame = pd.read_csv(file, encoding="utf-8-sig")
    names = [
        "Torque [Nm]",
        "Air temperature [K]",
        "Process temperature [K]",
        "Rotational speed [rpm]",
        "Tool wear [min]",
    ]
    features = frame[names].rename(columns={"Torque [Nm]": "torque"})
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, frame["Machine_failure"])
    done = run(
        "machines", model, features, path=str(file), key=["UDI"], carry=["Product ID"],
        columns={"torque": "Torque [Nm]"}, types={"UDI": "int"},
    )  # fmt: skip
    assert done.balanced(counted(file))
    assert done.record.rows["quarantined"] == 0
    assert same(done, "UDI", model.predict(features), frame["UDI"])
    assert (
        done.predictions.set_index("UDI")["Product ID"].sort_index().tolist() == frame["Product ID"].tolist()
    )


def test_census_without_a_header_line_with_blanks_and_question_marks(run: Run) -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    names = [
        "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship",
        "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
    ]  # fmt: skip
    file = DATA / "adult" / "adult-test.csv"
    frame = pd.read_csv(file, names=names, skipinitialspace=True, na_values="?", keep_default_na=False)
    features = frame[["age", "workclass", "education-num", "hours-per-week", "sex"]]
    features = features.assign(
        workclass=features["workclass"].astype(object).where(features["workclass"].notna(), None)
    )
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((encoder, ["workclass", "sex"]), remainder=StandardScaler())
    model = make_pipeline(columns, LogisticRegression(max_iter=200)).fit(features, frame["income"] == ">50K.")
    options = {"ignoreLeadingWhiteSpace": True, "nullValue": "?"}
    done = run(
        "census", model, features, path=str(file), header=names, options=options, key=["fnlwgt", "income"]
    )
    assert done.balanced(counted(file, header=False))
    assert done.record.rows["quarantined"] == 0  # a missing workclass is a category to this model
    assert set(done.predictions["income"]) == {"<=50K.", ">50K."}
    assert done.predictions["prediction"].sum() == model.predict(features).sum()
    expected = frame.assign(fnlwgt=frame["fnlwgt"].astype(str), prediction=model.predict(features))
    pairs = ["fnlwgt", "income", "prediction"]
    assert sorted(map(tuple, done.predictions[pairs].to_numpy())) == sorted(
        map(tuple, expected[pairs].to_numpy())
    )


def test_air_where_a_value_the_model_requires_is_sometimes_missing(run: Run) -> None:
    from sklearn.linear_model import LinearRegression

    file = DATA / "beijing_pm25" / "pollution.csv"
    frame = pd.read_csv(file, na_values="NA", keep_default_na=False)
    whole = frame[frame["pm2.5"].notna()]
    features = whole[["pm2.5", "DEWP", "TEMP", "Iws"]]
    model = LinearRegression().fit(features, whole["PRES"])
    done = run(
        "air", model, features, path=str(file), options={"nullValue": "NA"}, key=["No"], types={"No": "long"}
    )
    assert done.balanced(counted(file))
    missing = int(frame["pm2.5"].isna().sum())
    assert done.record.quarantined_by == {"required(pm2.5)": missing}
    assert sorted(done.quarantine["No"]) == frame.loc[frame["pm2.5"].isna(), "No"].tolist()
    assert same(done, "No", model.predict(features), whole["No"])
    assert any("without a line break" in w for w in done.record.warnings)  # it really ends like that


def test_taxi_months_in_compressed_files_by_a_pattern(run: Run) -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    files = sorted((DATA / "nyc_taxi").glob("*2018-1[12].csv.gz"))
    frame = pd.concat([pd.read_csv(f) for f in files], ignore_index=True)
    features = frame[["passenger_count", "trip_distance", "fare_amount", "congestion_surcharge"]]
    used = make_column_transformer(("passthrough", ["passenger_count", "trip_distance", "fare_amount"]))
    model = make_pipeline(used, LinearRegression()).fit(
        features, frame["tip_amount"]
    )  # the surcharge is all NULL
    done = run(
        "taxi", model, features, path=str(DATA / "nyc_taxi" / "*2018-1[12].csv.gz"),
        key=["pickup_datetime", "pickup_location_id", "total_amount"],
        types={"pickup_datetime": "timestamp", "pickup_location_id": "int", "total_amount": "double"},
    )  # fmt: skip
    assert len(files) == 2
    assert done.balanced(counted(*files))
    assert done.record.rows["quarantined"] == 0
    assert done.record.inputs["files"] == 2
    expected = frame.assign(prediction=model.predict(features))
    when = pd.to_datetime(expected["pickup_datetime"], utc=True)
    wanted = zip(
        when, expected["pickup_location_id"], expected["total_amount"], expected["prediction"], strict=True
    )
    found = done.predictions
    got = zip(
        found["pickup_datetime"],
        found["pickup_location_id"],
        found["total_amount"],
        found["prediction"],
        strict=True,
    )
    assert sorted(got) == sorted(wanted)


def test_messages_of_free_text_with_quotes_and_commas(run: Run) -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    file = DATA / "sms_spam" / "sms.csv"
    with file.open(newline="", encoding="utf-8") as text:
        label, messages = zip(*list(csv.reader(text))[1:], strict=True)
    frame = pd.DataFrame({"label": label, "text": messages})
    words = make_column_transformer((CountVectorizer(max_features=300), "text"))
    model = make_pipeline(words, LogisticRegression()).fit(frame[["text"]], frame["label"])
    done = run("messages", model, frame[["text"]], path=str(file), key=["label"], carry=["text"])
    assert done.balanced(counted(file))
    assert done.record.rows["quarantined"] == 0
    expected = zip(frame["label"], frame["text"], model.predict(frame[["text"]]), strict=True)
    assert sorted(map(tuple, done.predictions[["label", "text", "prediction"]].to_numpy())) == sorted(
        expected
    )


@pytest.fixture
def as_in_a_run(spark: SparkSession) -> Iterator[None]:
    with settings(spark, RUN_SETTINGS):
        yield


SPECTRUM = sorted(p.stem for p in (DATA / "nasty" / "csv").glob("*.csv"))
BROKEN_LINES = {"newlines", "newlines_crlf", "quotes_and_newlines"}
REPLACED = {"location_coordinates"}  # the file itself holds U+FFFD where a degree sign was


@pytest.mark.usefixtures("as_in_a_run")
@pytest.mark.parametrize("whole", [False, True], ids=["by line", "multiLine"])
@pytest.mark.parametrize("name", SPECTRUM)
def test_csv_spectrum_is_read_right_or_not_at_all(spark: SparkSession, name: str, whole: bool) -> None:
    config = Source(
        format="csv", path=str(DATA / "nasty" / "csv" / f"{name}.csv"), options={"multiLine": whole}
    )
    table = source.read(spark, config, {})
    names = table.schema.names
    read = table.frame.select(
        *(F.col(f"`{n}`") for n in names), broken_any(table.rules).alias("__bad")
    ).collect()
    good = [{n: r[n] or "" for n in names} for r in read if not r["__bad"]]  # an empty field is NULL to Spark
    loaded = json.loads((DATA / "nasty" / "csv_expected" / f"{name}.json").read_text("utf-8"))
    expected = loaded if isinstance(loaded, list) else [loaded]
    if name in REPLACED:
        assert (good, len(read)) == ([], len(expected))
    elif name in BROKEN_LINES and not whole:
        assert len(good) < len(expected)
        assert all(row in expected for row in good)
    else:
        assert good == expected
        assert len(read) == len(expected)


PARQUET = sorted(p.name for p in (DATA / "nasty" / "parquet").glob("*.parquet"))
LOSES_ROWS = "ARROW-RS-GH-6229-DICTHEADER.parquet"
REFUSED = {
    "ARROW-GH-41317.parquet": 78,
    "ARROW-GH-41321.parquet": 78,
    "ARROW-GH-47662.parquet": 66,
    "ARROW-RS-GH-6229-LEVELS.parquet": 66,
    "PARQUET-1481.parquet": 66,
    "byte_array_decimal.parquet": 66,
    "datapage_v1-corrupt-checksum.parquet": 66,
    "float16_nonzeros_and_nans.parquet": 78,
    "incorrect_map_schema.parquet": 66,
    "nation.dict-malformed.parquet": 66,
}


@pytest.mark.usefixtures("as_in_a_run")
@pytest.mark.parametrize("name", [n for n in PARQUET if n not in {*REFUSED, LOSES_ROWS}])
def test_a_strange_parquet_file_gives_all_its_rows(spark: SparkSession, name: str) -> None:
    file = DATA / "nasty" / "parquet" / name
    assert read_fully(spark, file) == pq.read_metadata(file).num_rows


@pytest.mark.usefixtures("as_in_a_run")
@pytest.mark.parametrize(("name", "code"), REFUSED.items())
def test_a_broken_parquet_file_is_refused_by_name(spark: SparkSession, name: str, code: int) -> None:
    with pytest.raises(ScorelineError) as caught:
        read_fully(spark, DATA / "nasty" / "parquet" / name)
    assert caught.value.exit_code == code
    assert name in caught.value.message


def read_fully(spark: SparkSession, file: Path) -> int:
    """Rows of which every value was decoded."""
    with failures.explained():
        table = source.read(spark, Source(format="parquet", path=str(file)), {})
        rows = Observation()
        table.frame.observe(rows, F.count(F.lit(1)).alias("n")).write.format("noop").mode("overwrite").save()
        assert rows.get["n"] == table.rows
        return table.rows or 0


@pytest.mark.parametrize(
    ("engine", "error", "words"),
    [
        ("udf", InvariantBroken, r"rows do not add up: 0 scored .* files' own count: 25"),
        ("scan", InputUnavailable, rf"cannot read .*{LOSES_ROWS}: .*corrupt"),
    ],
)
def test_a_parquet_file_that_promises_more_rows_than_it_gives_stops_the_run(
    run: Run, home: Path, engine: str, error: type[ScorelineError], words: str
) -> None:
    from sklearn.dummy import DummyClassifier

    features = pd.DataFrame({"absent": [None, 1.0]})
    model = DummyClassifier(strategy="constant", constant=1).fit(features, [0, 1])
    file = DATA / "nasty" / "parquet" / LOSES_ROWS
    name = f"promises-{engine}"
    with pytest.raises(error, match=words):
        run(name, model, features, engine=engine, path=str(file), format="parquet")
    assert not list((home / "out" / name).glob("predictions/**/*.parquet"))
