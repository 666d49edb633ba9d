"""What a session is asked of memory."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

from pipelines import memory
from pipelines.memory import MB, Place
from pipelines.session.platform import is_remote

_CONTAINERS = ("yarn", "k8s")  # there spark.executor.memoryOverhead is a bound; elsewhere nobody heeds it


def place(spark: SparkSession) -> Place | None:
    """Where the Python workers run; None where a Connect server does the work and does not tell."""
    if is_remote(spark):
        return None
    context: Any = spark.sparkContext
    if context.master.startswith("local") and not context.master.startswith("local-cluster"):
        found, limit = memory.available()
        runtime = context._jvm.java.lang.Runtime.getRuntime()
        growth = (runtime.maxMemory() - runtime.totalMemory()) / MB
        remedy = "Use fewer cores (spark.master: local[n]) or a machine with more memory"
        return Place(context.defaultParallelism, found, growth, limit, remedy)
    infos = context._jsc.sc().statusStore().executorList(True)
    cores = [infos.apply(i).totalCores() for i in range(infos.size()) if infos.apply(i).id() != "driver"]
    bounded = context.master.startswith(_CONTAINERS)
    ignored = () if bounded else ("spark.executor.memoryOverhead",)
    return memory.of_executor(
        lambda key: None if key in ignored else context.getConf().get(key),
        max(cores, default=None),
        context._jvm.org.apache.spark.network.util.JavaUtils.byteStringAsMb,
    )


def jvm_peak(spark: SparkSession) -> float | None:
    """The largest memory that the driver's JVM has had, in MB."""
    if is_remote(spark):
        return None
    context: Any = spark.sparkContext
    return memory.peak(context._jvm.java.lang.ProcessHandle.current().pid())
