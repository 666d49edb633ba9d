"""A cold run is start-up above all: who starts what, and what a worker never has to import."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines import scoring
from pipelines.launch import import_compiled_spark, seconds_since_launch
from pipelines.starting import Starting, warm_workers

ROOT = Path(__file__).resolve().parent.parent


def test_a_session_that_is_there_is_the_one(spark: SparkSession) -> None:
    starting = Starting("another")
    starting.warm(("antigravity",))
    assert starting.session() is spark


def test_workers_have_imported_what_they_were_told_to_and_what_is_missing_is_left_out(
    spark: SparkSession,
) -> None:
    warm_workers(spark, ("no_such_module", "this"))
    cores = spark.sparkContext.defaultParallelism

    def look(batches: Any) -> Any:
        for batch in batches:
            yield batch if "this" in sys.modules else batch.slice(0, 0)

    assert spark.range(0, cores, 1, cores).mapInArrow(look, "id bigint").count() > 0


def test_a_new_session_is_active_in_the_thread_that_asked_for_it() -> None:
    code = """
        from pyspark.sql import SparkSession
        from pipelines import scoring
        from pipelines.starting import Starting
        starting = Starting("new")
        starting.warm((*scoring.OWN, *scoring.libraries("sklearn")))
        assert SparkSession.getActiveSession() is None
        spark = starting.session()
        assert SparkSession.getActiveSession() is spark, SparkSession.getActiveSession()
        assert spark.range(3).count() == 3
        print("well")
    """
    assert told(code) == "well"


def told(code: str) -> str:
    """The last word of a fresh interpreter."""
    return words(code)[-1]


def words(code: str) -> list[str]:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("flavor", ["sklearn", "xgboost", "lightgbm", "onnx"])
def test_a_worker_imports_neither_mlflow_nor_great_expectations(flavor: str) -> None:
    names = (*scoring.OWN, "pipelines.scoring.loaders", *scoring.libraries(flavor))
    code = f"""
        import importlib, sys
        for name in {names!r}:
            importlib.import_module(name)
        print(*[m for m in ("mlflow", "great_expectations", "matplotlib") if m in sys.modules], "well")
    """
    assert told(code) == "well"


def test_a_process_knows_since_when_it_runs(tmp_path: Path) -> None:
    code = """
        import time
        from pipelines.launch import seconds_since_launch
        first = seconds_since_launch({})
        time.sleep(0.1)
        print("well" if first is None or 0 <= first <= seconds_since_launch({}) - 0.1 + 0.02 else first)
    """
    assert told(code) == "well"


def test_below_spark_submit_the_time_is_the_launchers() -> None:
    own, launchers = (
        seconds_since_launch({}),
        seconds_since_launch(dict(os.environ) | {"PYSPARK_GATEWAY_PORT": "1"}),
    )
    assert own is None or launchers is None or launchers >= own


def test_a_driver_that_starts_imports_nothing_that_it_may_not_need() -> None:
    code = """
        import sys
        from pipelines import load_config, run_batch
        unasked = ("pandas", "scipy", "sklearn", "mlflow", "great_expectations", "matplotlib", "jinja2")
        print(*[m for m in unasked if m in sys.modules], "well")
    """
    assert told(code) == "well"


@pytest.mark.parametrize(
    ("py4j", "on_path", "home", "after"),
    [
        ("0.10.9", True, "pyspark", ["site", "spark", "py4j"]),  # one and the same: the archives come last
        ("0.10.8", True, "pyspark", ["py4j", "site", "spark"]),  # another py4j is installed
        ("0.10.9", False, "pyspark", ["spark", "py4j"]),  # SPARK_HOME is nothing that Python imports from
        ("0.10.9", True, "spark-4.1", ["spark", "site", "py4j"]),  # nor is it a package
    ],
)
def test_pyspark_is_imported_from_the_package_whose_archives_spark_submit_names(
    tmp_path: Path, py4j: str, on_path: bool, home: str, after: list[str]
) -> None:
    spark = tmp_path / home
    for file, text in {
        spark / "__init__.py": "",
        tmp_path / "py4j" / "version.py": f"__version__ = '{py4j}'\n",
    }.items():
        file.parent.mkdir()
        file.write_text(text)
    lib = spark / "python" / "lib"
    names = {"spark": f"{lib}/pyspark.zip", "py4j": f"{lib}/py4j-0.10.9-src.zip", "site": str(tmp_path)}
    path = [names[n] for n in ("spark", "py4j", *(["site"] if on_path else []))]
    import_compiled_spark(path)
    assert path == [names[n] for n in after]


def test_what_is_seldom_used_is_executed_when_something_is_asked_of_it(tmp_path: Path) -> None:
    (tmp_path / "seldom.py").write_text("print('executed')\nVALUE = 7\n")
    code = f"""
        import sys
        from pipelines.launch import import_when_used
        sys.path.insert(0, {str(tmp_path)!r})
        import_when_used(("seldom", "missing"))
        import seldom
        print("imported")
        assert seldom.VALUE == 7
        try:
            import missing
        except ModuleNotFoundError:
            print("well")
    """
    assert words(code) == ["imported", "executed", "well"]


def test_an_expectation_that_needs_what_is_seldom_used_gets_it() -> None:
    code = """
        from pipelines.launch import import_when_used
        import_when_used()
        from pipelines.expectations.suites import import_engine
        import_engine()
        import sys
        late = [name for name in ("altair", "scipy.stats") if type(sys.modules[name]).__name__ == "_LazyModule"]
        from great_expectations.expectations.core import expect_column_kl_divergence_to_be_less_than as kl
        print(*late, round(kl.stats.entropy([0.5, 0.5], base=2)), kl.alt.Chart.__name__)
    """
    assert words(code) == ["altair", "scipy.stats", "1", "Chart"]


def test_the_jvm_registers_what_a_session_needs_before_there_is_one() -> None:
    code = """
        import os
        from pyspark import SparkContext
        SparkContext._ensure_initialized()  # a JVM and no session, which is what spark-submit gives
        registry = getattr(SparkContext._jvm.org.apache.spark.sql.catalyst.analysis, "FunctionRegistry$")
        internal = getattr(registry, "MODULE$").internal()
        known = lambda: "vector_to_array" in internal.listFunction().mkString(" ")
        before = known()
        from pipelines import jvm_warmup
        jvm_warmup.begin({})
        nothing = len(jvm_warmup._started)
        jvm_warmup.begin({"PYSPARK_GATEWAY_PORT": "1"})
        jvm_warmup.finished()
        print(before, nothing, known())
    """
    assert words(code)[-3:] == ["False", "0", "True"]
