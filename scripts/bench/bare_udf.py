"""The script a team would write first: spark_udf, select, write. Run by spark-submit, as a process of its own."""

from __future__ import annotations

import sys

import mlflow
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def main(uri: str, registry: str, form: str, schema: str, source: str, target: str) -> None:
    """Score ``source`` with the model at ``uri`` and write key and prediction."""
    spark = SparkSession.builder.appName("bare").getOrCreate()
    mlflow.set_tracking_uri(registry)
    reader = spark.read.option("header", "true").schema(schema) if form == "csv" else spark.read
    frame = reader.format(form).load(source)
    udf = mlflow.pyfunc.spark_udf(spark, uri, result_type="long")
    features = F.struct(*(c for c in frame.columns if c != "id"))
    frame.select("id", udf(features).alias("prediction")).write.mode("overwrite").parquet(target)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
