"""A cold run is start-up above all: who starts what, and what a worker never has to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pyspark
import pytest
from batch_factory import DAY, day_of, lay_out, save_model, settings
from pyspark.sql import SparkSession

from pipelines import load_config, run_batch, scoring
from pipelines.launch import import_compiled_spark, seconds_since_launch
from pipelines.scan_pass import ScanPass
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
    ("py4j", "before", "home", "after"),
    [
        ("0.10.9", "", "pyspark", ["site", "spark", "py4j"]),  # one and the same: the archives come last
        ("0.10.8", "", "pyspark", ["py4j", "site", "spark"]),  # another py4j is installed
        ("0.10.9", "", "spark-4.1", ["spark", "py4j", "site"]),  # SPARK_HOME is no package
        (
            "0.10.9",
            "pyspark",
            "pyspark",
            ["spark", "py4j", "other", "site"],
        ),  # another PySpark would be found
        ("0.10.9", "py4j", "pyspark", ["py4j", "other", "site", "spark"]),  # another py4j, of another version
    ],
)
def test_pyspark_is_imported_from_the_package_whose_archives_spark_submit_names(
    tmp_path: Path, py4j: str, before: str, home: str, after: list[str]
) -> None:
    site, other = tmp_path / "site", tmp_path / "other"
    package(site / home)
    package(site / "py4j", py4j)
    if before:
        package(other / before, "0.10.7")
    lib = site / home / "python" / "lib"
    names = {
        "spark": f"{lib}/pyspark.zip",
        "py4j": f"{lib}/py4j-0.10.9-src.zip",
        "other": str(other),
        "site": str(site),
    }
    path = [names[n] for n in ("spark", "py4j", *(["other"] if before else []), "site")]
    import_compiled_spark(path)
    assert path == [names[n] for n in after]


def test_an_entry_of_the_path_that_cannot_be_looked_at_is_passed_over(tmp_path: Path) -> None:
    package(tmp_path / "pyspark")
    archive = f"{tmp_path}/pyspark/python/lib/pyspark.zip"
    path = [archive, "x" * 5000, str(tmp_path)]  # longer than a name may be
    import_compiled_spark(path)
    assert path[-1] == archive


def package(folder: Path, version: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "version.py").write_text(f"__version__ = '{version}'\n")


def test_what_is_seldom_used_is_executed_when_something_is_asked_of_it(tmp_path: Path) -> None:
    (tmp_path / "seldom.py").write_text("print('executed')\nVALUE = 7\n")
    code = f"""
        import sys
        from pipelines.launch import import_when_used
        sys.path.insert(0, {str(tmp_path)!r})
        import_when_used(("seldom", "missing"))
        import_when_used(("seldom", "missing"))  # a second time is no other finder
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


def test_a_command_below_spark_submit_starts_so(tmp_path: Path) -> None:
    script = tmp_path / "look.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from jobs import run_batch
        sys.argv = ["run_batch", "--config", "no-such.yaml", "--run-date", "2026-11-20"]
        try:
            run_batch.main()
        except SystemExit as ended:
            code = ended.code
        import pyspark
        from pipelines import jvm_warmup, session
        spark = session.session("look")
        late = [type(finder).__name__ for finder in sys.meta_path].count("_Late")
        alive = [thread.is_alive() for thread in jvm_warmup._started]
        print("found", code, "pyspark.zip" in pyspark.__file__, late, alive, spark.range(3).count(), file=sys.stderr)
        """)
    )
    command = [
        str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
        "--master",
        "local[1]",
        str(script),
    ]
    env = {k: v for k, v in os.environ.items() if not k.startswith("SPARK")} | {
        "PYSPARK_PYTHON": sys.executable
    }
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert "found 78 False 1 [False] 3" in done.stderr, done.stderr[-2000:]


def test_scoring_waits_for_workers_that_still_import_and_not_for_ever(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, go = Starting("toy", spark), threading.Event()
    starting.warmed()  # nobody imports
    starting._warming = threading.Thread(target=go.wait, daemon=True)
    starting._warming.start()
    monkeypatch.setattr("pipelines.starting._PATIENCE", 0.05)
    starting.warmed()
    assert starting._warming.is_alive()
    monkeypatch.setattr("pipelines.starting._PATIENCE", 60.0)
    threading.Timer(0.1, go.set).start()
    starting.warmed()
    assert not starting._warming.is_alive()


def test_a_run_waits_for_its_workers_before_it_scores(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    run = ScanPass.run
    monkeypatch.setattr(Starting, "warmed", lambda _: order.append("warmed"))
    monkeypatch.setattr(ScanPass, "run", lambda *given: (order.append("scored"), run(*given))[1])
    lay_out(tmp_path / "in", day_of(10))
    tree = settings(tmp_path, save_model(tmp_path / "model"), drift={"baseline": "none"})
    (tmp_path / "conf.json").write_text(json.dumps(tree))
    assert run_batch(load_config(tmp_path / "conf.json", run_date=DAY), spark).status == "published"
    assert order == ["warmed", "scored"]


@pytest.mark.parametrize(("new", "mode"), [(True, "NO_CODEGEN"), (False, "FALLBACK")])
def test_no_code_is_generated_for_two_rows_in_a_session_that_the_run_has_started(
    spark: SparkSession, new: bool, mode: str
) -> None:
    starting = Starting("toy", spark)
    starting._new = new
    with starting.interpreting():
        assert spark.conf.get("spark.sql.codegen.factoryMode") == mode
    assert spark.conf.get("spark.sql.codegen.factoryMode") == "FALLBACK"
