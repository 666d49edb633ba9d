"""The architecture as a test: who may import whom, imports hidden inside functions included."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A module is the first name below `pipelines`; a package is one module. A new one belongs here.
LAYERS: dict[str, set[str]] = {
    "words": {"errors", "records", "redaction", "java", "jvm_warmup", "launch"},
    "rules": {
        "binding",
        "config",
        "config_alerts",
        "config_files",
        "config_observability",
        "csv_files",
        "csv_forms",
        "csv_records",
        "input_files",
        "drift",
        "json_values",
        "masking",
        "memory",
        "metric_tables",
        "model_files",
        "model_objects",
        "near",
        "parquet_files",
        "parquet_types",
        "profiles",
        "quality_metrics",
        "quarantine_summary",
        "retrain",
        "rules",
        "run_figures",
        "sample",
        "source_proposal",
        "storage",
        "strangers",
        "suite_proposal",
        "vectorized",
    },
    "stages": {
        "archives",
        "expectations",
        "incremental",
        "labels",
        "ledger",
        "observability",
        "publish",
        "quality_counts",
        "registry",
        "report",
        "scoring",
        "screening",
        "session",
        "source",
        "tracking",
    },
    "order": {
        "alerts",
        "attempt",
        "batch",
        "engines",
        "evaluation",
        "exports",
        "failures",
        "footprint",
        "gates",
        "labelled",
        "notify",
        "one_pass",
        "outcome",
        "references",
        "part_pass",
        "passes",
        "scaffold",
        "scan_input",
        "scan_pass",
        "scan_rest",
        "starting",
        "unit_watch",
        "terminal",
    },
    "facade": {"__init__"},
    "doors": {"jobs"},
}
MAY_IMPORT: dict[str, set[str]] = {
    "words": {"words"},
    "rules": {"words", "rules"},
    "stages": {"words", "rules"},
    "order": {"words", "rules", "stages", "order"},
    "facade": {"words", "rules", "order"},
    "doors": {"words", "rules", "order", "facade", "doors"},
}
# The files that may import a library at all; everything in a package where the name ends in a dot.
OWNERS: dict[str, tuple[str, ...]] = {
    "mlflow": (
        "pipelines.notify",
        "pipelines.registry",
        "pipelines.tracking",
        "pipelines.scoring.pyfunc_loader",
    ),
    "great_expectations": ("pipelines.expectations.",),
    "click": ("jobs.",),
    "prometheus_client": ("pipelines.observability.prometheus",),
    "opentelemetry": ("pipelines.observability.opentelemetry",),
    "openlineage": ("pipelines.observability.openlineage",),
}
# What Python workers load: a Spark session is nothing to them, and every import is paid by each of them.
WORKERS = tuple(
    f"pipelines.scoring.{name}"
    for name in (
        "account",
        "compiled",
        "environment",
        "frames",
        "loaders",
        "outputs",
        "pyfunc_loader",
        "refusals",
        "rest",
        "reuse",
        "row_groups",
        "scan",
        "sharing",
        "spark_task",
        "sums",
        "text",
        "time_limit",
        "trees",
        "units",
        "work",
        "worker",
    )
)


@dataclass(frozen=True)
class Import:
    """``file`` (dotted) imports ``target`` (dotted); ``late`` where that happens inside a function."""

    file: str
    target: str
    late: bool

    def __str__(self) -> str:
        return f"{self.file} imports {self.target}"


def dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] + (("__init__",) if parts[-1] == "__init__" else parts[-1:]))


def imports_of(path: Path, root: Path) -> Iterator[Import]:
    """Every import in one file; ``from a import b`` counts as ``a.b``, as b may be a module."""
    file = dotted(path, root)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        for target in targets(node, file):
            yield Import(file, target, id(node) in late)


def targets(node: ast.AST, file: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        package = ".".join(file.split(".")[: -node.level]) if node.level else ""
        base = ".".join(part for part in (package, node.module) if part)
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def module_of(name: str) -> str | None:
    """The module of the architecture to which a dotted name belongs; None for libraries."""
    first, *rest = name.split(".")
    if first == "jobs":
        return "jobs"
    return (rest or ["__init__"])[0] if first == "pipelines" else None


def layer_of(module: str) -> str | None:
    return next((layer for layer, modules in LAYERS.items() if module in modules), None)


def resolve(found: Import, modules: set[str]) -> str | None:
    """The module that is imported; a name from ``pipelines`` that is no module is the facade's."""
    module = module_of(found.target)
    return module if module is None or module in modules or layer_of(module) else "__init__"


def survey(root: Path) -> tuple[set[str], list[Import]]:
    """All modules below ``root`` and all imports in them."""
    files = [p for top in ("pipelines", "jobs") for p in sorted((root / top).rglob("*.py"))]
    modules = {module for p in files if (module := module_of(dotted(p, root)))}
    return modules, [each for p in files for each in imports_of(p, root)]


def violations(root: Path) -> list[str]:
    """What breaks the law below ``root``, one sentence each; empty where all is well."""
    modules, imports = survey(root)
    found = [f"{m} has no layer: place it in LAYERS" for m in sorted(modules) if layer_of(m) is None]
    for each in imports:
        found += [f"{each}: {reason}" for reason in (*layer_faults(each, modules), *library_faults(each))]
    return [*found, *cycles(modules, imports)]


def cycles(modules: set[str], imports: list[Import]) -> Iterator[str]:
    """At most one sentence: a circle of modules, each of which imports the next."""
    graph: dict[str, set[str]] = {}
    for each in imports:
        source, target = module_of(each.file), resolve(each, modules)
        if source and target and source != target:
            graph.setdefault(source, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a circle of imports: {' <- '.join(error.args[1])}"


def layer_faults(found: Import, modules: set[str]) -> Iterator[str]:
    source, target = module_of(found.file), resolve(found, modules)
    if source is None or target is None or source == target:
        return
    from_layer, to_layer = layer_of(source), layer_of(target)
    if from_layer and to_layer and to_layer not in MAY_IMPORT[from_layer]:
        yield f"{from_layer} may not import {to_layer}"


def library_faults(found: Import) -> Iterator[str]:
    library = found.target.split(".")[0]
    owners = OWNERS.get(library)
    if owners and not any(owned(found.file, owner) for owner in owners):
        yield f"only {', '.join(owners)} may import {library}"
    if library == "pyspark" and found.file in WORKERS and not found.late:
        yield "workers would load it: import it inside the function that needs it"


def owned(file: str, owner: str) -> bool:
    """``pipelines.x.`` owns all files of package x; ``pipelines.x`` is one file or the package."""
    return file.startswith(owner) if owner.endswith(".") else file == owner or file.startswith(f"{owner}.")


def test_the_code_keeps_the_law() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("pipelines/errors.py", "from pipelines.config import load_config", "words may not import rules"),
        ("pipelines/rules.py", "import pipelines.publish", "rules may not import stages"),
        ("pipelines/rules.py", "from pipelines import publish", "rules may not import stages"),
        ("pipelines/rules.py", "from . import publish", "rules may not import stages"),
        ("pipelines/source.py", "from pipelines.ledger import Ledger", "stages may not import stages"),
        ("pipelines/source.py", "from .ledger import Ledger", "stages may not import stages"),
        ("pipelines/scoring/udf.py", "from ..source import read", "stages may not import stages"),
        (
            "pipelines/scoring/udf.py",
            "def f():\n    from pipelines.source import read",
            "stages may not import stages",
        ),
        ("pipelines/publish.py", "from pipelines.batch import run_batch", "stages may not import order"),
        ("pipelines/publish.py", "from pipelines import run_batch", "stages may not import facade"),
        ("pipelines/batch.py", "import jobs.run_batch", "order may not import doors"),
        ("jobs/run_batch.py", "from pipelines.publish import stage", "doors may not import stages"),
        ("pipelines/novelty.py", "", "novelty has no layer"),
        ("pipelines/source.py", "def f():\n    import mlflow.pyfunc", "may import mlflow"),
        ("pipelines/scoring/worker.py", "from mlflow import pyfunc", "may import mlflow"),
        ("pipelines/report.py", "import great_expectations as gx", "may import great_expectations"),
        ("pipelines/scoring/worker.py", "from pyspark.sql import Column", "workers would load it"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert any(complaint in each for each in violations(tmp_path))


def test_a_circle_within_a_layer_is_found(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "drift.py").write_text("from pipelines import profiles\n")
    (tmp_path / "pipelines" / "profiles.py").write_text("def f():\n    from pipelines.drift import g\n")
    assert [each for each in violations(tmp_path) if "a circle of imports" in each]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("pipelines/java.py", "from pipelines.errors import ConfigInvalid"),
        ("pipelines/binding.py", "from pipelines.rules import RowRule"),
        ("pipelines/batch.py", "from pipelines import publish, source"),
        ("pipelines/scoring/udf.py", "from pipelines.scoring.worker import run\nfrom . import loaders"),
        ("pipelines/scoring/pyfunc_loader.py", "import mlflow.pyfunc"),
        ("pipelines/scoring/worker.py", "def f():\n    from pyspark import TaskContext"),
        ("jobs/run_batch.py", "from pipelines import load_config, run_batch\nimport click"),
    ],
)
def test_what_the_law_allows_is_let_pass(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert violations(tmp_path) == []


def test_importing_the_batch_loads_nothing_heavy() -> None:
    heavy = ("mlflow", "great_expectations", "matplotlib", "scipy", "sklearn")
    code = f"import sys, pipelines.batch; print(*[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
