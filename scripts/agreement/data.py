"""The real data sets of the agreement study, as pairs of a reference and a window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

MONTHS = [f"{year}-{month:02d}" for year in (2018, 2019) for month in range(1, 13)]
SHOWN = ("2018-07", "2019-01", "2019-02", "2019-12")  # months that the other tools see, too
TAXI_TEXTS = {
    "vendor_id", "rate_code_id", "store_and_fwd_flag", "payment_type", "pickup_location_id", "dropoff_location_id"
}  # fmt: skip
ADULT = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship",
    "race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"
)  # fmt: skip
AIR = ["pm2.5", "DEWP", "TEMP", "PRES", "cbwd", "Iws", "Is", "Ir"]
SOURCES = {
    "nyc_taxi/*.csv.gz": "monthly samples of 10,000 yellow-cab trips, New York City TLC, as kept in the tests of "
    "Great Expectations (https://github.com/great-expectations/great_expectations, Apache-2.0; the trips are public "
    "records: https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page)",
    "beijing_pm25/pollution.csv": "https://archive.ics.uci.edu/dataset/381/beijing+pm2+5+data (CC BY 4.0)",
    "ai4i2020/ai4i2020.csv": "https://archive.ics.uci.edu/dataset/601/ai4i+2020+predictive+maintenance+dataset "
    "(CC BY 4.0)",
    "adult/adult-{train,test}.csv": "https://archive.ics.uci.edu/dataset/2/adult (CC BY 4.0)",
}


@dataclass(frozen=True)
class Pair:
    """A reference and a window with the same columns: numbers are float64, all else is text."""

    name: str
    reference: pd.DataFrame
    window: pd.DataFrame


def pairs(data: Path) -> Iterator[Pair]:
    """What all tools compare."""
    first = taxi(data, MONTHS[0])
    for month in SHOWN:
        yield Pair(f"taxi {month}", first, taxi(data, month))
    air = pd.read_csv(data / "beijing_pm25" / "pollution.csv")
    by_year = {year: _plain(part[AIR], {"cbwd"}) for year, part in air.groupby("year")}
    for year in (2011, 2012, 2013, 2014):
        yield Pair(f"air {year}", by_year[2010], by_year[year])
    machines = pd.read_csv(data / "ai4i2020" / "ai4i2020.csv", encoding="utf-8-sig")
    machines = machines.drop(columns=["UDI", "Product ID", "TWF", "HDF", "PWF", "OSF", "RNF"])
    yield Pair("ai4i second half", *(_plain(h, {"Type"}) for h in (machines[:5000], machines[5000:])))
    yield Pair(
        "adult test", _adult(data / "adult" / "adult-train.csv"), _adult(data / "adult" / "adult-test.csv")
    )


def taxi(data: Path, month: str) -> pd.DataFrame:
    """One month of trips; the two time stamps become the hour of the day and the minutes on the way."""
    trips = pd.read_csv(
        data / "nyc_taxi" / f"yellow_tripdata_sample_{month}.csv.gz",
        parse_dates=["pickup_datetime", "dropoff_datetime"],
    )
    minutes = (trips["dropoff_datetime"] - trips["pickup_datetime"]).dt.total_seconds() / 60
    derived = trips.assign(pickup_hour=trips["pickup_datetime"].dt.hour, minutes=minutes)
    return _plain(derived.drop(columns=["pickup_datetime", "dropoff_datetime"]), TAXI_TEXTS)


def _adult(path: Path) -> pd.DataFrame:
    people = pd.read_csv(path, names=list(ADULT), na_values="?", skipinitialspace=True)
    people["income"] = people["income"].str.rstrip(".")
    return _plain(people, set(people.select_dtypes(exclude="number")))


def _plain(frame: pd.DataFrame, texts: set[str]) -> pd.DataFrame:
    kinds = {name: _texts(frame[name]) if name in texts else frame[name].astype("float64") for name in frame}
    return pd.DataFrame(kinds).reset_index(drop=True)


def _texts(values: pd.Series) -> pd.Series:
    """Texts, with None for what is missing."""
    if values.dtype.kind == "f":
        values = values.astype("Int64")
    return values.astype("string").astype(object).where(values.notna(), None)
