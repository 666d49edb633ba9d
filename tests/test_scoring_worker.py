"""What a Python worker does with the batches of one task; no Spark here."""
# ruff: noqa: DTZ001  naive times are the point

from __future__ import annotations

import hashlib
import io
import math
import pickle
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import cloudpickle
import model_factory
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import model_files
from pipelines.profiles import TableProfile, free_spec
from pipelines.records import ModelColumn
from pipelines.scoring import loaders
from pipelines.scoring.account import ISOLATED_PER_BATCH, MARKER, ModelFailedHere, Task
from pipelines.scoring.loaders import ModelSpec
from pipelines.scoring.states import Distribution, WorkerState, merge_states
from pipelines.scoring.worker import BITS, ERROR, STATE, run

INPUTS = (ModelColumn("x", "double"),)
OUTPUTS = (ModelColumn("prediction", "double"),)
ROOT = Path(__file__).resolve().parent.parent


class Doubler:
    """Twice x; raises where x is one of ``poison``; remembers the size of every batch it was given."""

    def __init__(self, poison: Sequence[float] = ()) -> None:
        self.poison, self.sizes = set(poison), []

    def predict(self, frame: Any) -> Any:
        self.sizes.append(len(frame))
        values = frame["x"].to_numpy()
        for value in values:
            if value in self.poison:
                raise ValueError(f"no such thing as {value:g}\nsecond line")
        return values * 2


def task(model: Any, **changes: Any) -> Task:
    """A task for a model that is in this worker's cache already, so that the test can look at it."""
    digest = f"test-{id(model)}"
    loaders._cache[f"{digest}:predict"] = loaders.LoadedModel(model.predict)
    spec = ModelSpec(digest, "never asked for", "sklearn", "predict")
    return replace(Task(spec, INPUTS, OUTPUTS, ()), **changes)


def forgetful() -> bytes:
    raise AssertionError("the payload of a model in the cache is not needed")


def batches(*parts: Sequence[float], masks: Sequence[Sequence[int]] = ()) -> Iterator[tuple[pa.Array, ...]]:
    for i, part in enumerate(parts):
        yield (pa.array(part, pa.float64()), *([pa.array(masks[i], pa.int64())] if masks else []))


def finish(results: Iterator[pa.StructArray]) -> tuple[list[dict[str, Any]], WorkerState, list[int]]:
    """All rows in order, the state, and the sizes of the result batches."""
    parts = list(results)
    rows = [row for part in parts for row in part.to_pylist()]
    assert [i for i, row in enumerate(rows) if row[STATE] is not None] == [len(rows) - 1]
    return rows, WorkerState.from_bytes(rows[-1][STATE]), [len(p) for p in parts]


def test_batches_come_back_in_order_and_the_account_stands_on_the_very_last_row():
    rows, state, sizes = finish(run(task(Doubler()), forgetful, batches([1.0, 2.0], [3.0], [4.0, 5.0, 6.0])))
    assert sizes == [2, 1, 3]
    assert [r["prediction"] for r in rows] == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    assert {r[ERROR] for r in rows} == {None}
    assert (state.rows, state.predicted, state.failed, state.batches, state.calls) == (6, 6, 0, 3, 3)
    assert state.call_rows.to_dict() == {"count": 3, "min": 1, "max": 3, "mean": 2.0}
    assert state.call_micros.times == 3
    assert state.failed_calls == 0


def test_a_task_without_batches_loads_nothing_and_says_nothing():
    assert list(run(task(Doubler()), forgetful, iter(()))) == []


def test_rows_of_a_critical_rule_keep_their_places_and_never_reach_the_model():
    model = Doubler()
    masks = [[0, 0b01, 0b10, 0b11], [0b01, 0b01]]
    given_task = task(model, critical=(0b01,))
    rows, state, _ = finish(
        run(given_task, forgetful, batches([1.0, 2.0, 3.0, 4.0], [5.0, 6.0], masks=masks))
    )
    assert [r["prediction"] for r in rows] == [2.0, None, 6.0, None, None, None]
    assert model.sizes == [2]
    assert (state.rows, state.predicted, state.calls) == (6, 2, 1)
    assert state.counts[0][:3] == (4, 2, 0)


def test_a_batch_of_nothing_but_refused_rows_needs_no_model():
    model = Doubler()
    rows, state, _ = finish(run(task(model, critical=(1,)), forgetful, batches([1.0, 2.0], masks=[[1, 1]])))
    assert ([r["prediction"] for r in rows], model.sizes) == ([None, None], [])
    assert (state.rows, state.predicted, state.failed) == (2, 0, 0)


@settings(deadline=None)
@given(
    masks=st.lists(st.tuples(*[st.integers(0, 2**BITS - 1)] * 2), min_size=1, max_size=30),
    critical=st.tuples(*[st.integers(0, 2**BITS - 1)] * 2),
    cut=st.integers(0, 30),
)
def test_every_bit_is_counted_exactly_however_the_rows_fall_into_batches(masks, critical, cut):
    columns = [pa.array([float(i) for i in range(len(masks))])]
    columns += [pa.array([m[j] for m in masks], pa.int64()) for j in range(2)]
    cut = min(cut, len(masks))
    parts = [
        tuple(c.slice(a, b) for c in columns)
        for a, b in ((0, cut), (cut, None))
        if len(columns[0].slice(a, b))
    ]
    rows, state, _ = finish(run(task(Doubler(), critical=critical), forgetful, iter(parts)))
    for j in range(2):
        assert state.counts[j] == tuple(sum(m[j] >> bit & 1 for m in masks) for bit in range(BITS))
    kept = [not any(m[j] & critical[j] for j in range(2)) for m in masks]
    assert [r["prediction"] for r in rows] == [2.0 * i if k else None for i, k in enumerate(kept)]


def test_a_poison_row_alone_is_refused_with_its_reason_and_its_neighbours_are_scored():
    values = [float(i) for i in range(1000)]
    model = Doubler([637.0])
    rows, state, _ = finish(run(task(model), forgetful, batches(values)))
    assert rows[637]["prediction"] is None
    assert rows[637][ERROR] == "ValueError: no such thing as 637"
    assert [r["prediction"] for r in rows if r[ERROR] is None] == [2 * v for v in values if v != 637.0]
    assert (state.predicted, state.failed) == (999, 1)
    assert state.calls == len(model.sizes) <= 1 + 2 * math.ceil(math.log2(1000))
    # each half that holds the row fails, and each other one answers: they split the batch without it
    assert state.failed_calls == state.calls - state.call_rows.times
    assert (state.call_rows.total, state.call_rows.most) == (999, 500)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_exactly_the_poison_rows_fail_wherever_they_are(data):
    size = data.draw(st.integers(2, 300))
    some = st.integers(0, size - 1)
    poison = data.draw(st.sets(some, max_size=min(8, size - 1)))
    model = Doubler(float(p) for p in poison)
    rows, state, _ = finish(run(task(model), forgetful, batches([float(i) for i in range(size)])))
    assert {i for i, r in enumerate(rows) if r[ERROR] is not None} == poison
    assert [r["prediction"] for r in rows] == [None if i in poison else 2.0 * i for i in range(size)]
    assert state.calls <= 1 + 2 * len(poison) * math.ceil(math.log2(size))


def test_a_small_last_batch_of_poison_alone_does_not_condemn_the_model():
    rows, state, _ = finish(run(task(Doubler([8.0, 9.0])), forgetful, batches([1.0, 2.0], [8.0, 9.0])))
    assert [r[ERROR] is None for r in rows] == [True, True, False, False]
    assert (state.predicted, state.failed) == (2, 2)


@pytest.mark.parametrize("size", [2, 7, 100, 5000])
def test_a_model_that_scores_nothing_is_a_failure_of_the_model(size):
    model = Doubler(float(i) for i in range(size))
    with pytest.raises(
        ModelFailedHere, match=f'{MARKER}.*raises on.*a batch of {size}.*"batch": 0.*"stage": "predict"'
    ):
        list(run(task(model), forgetful, batches([float(i) for i in range(size)])))
    assert len(model.sizes) <= 2 * (ISOLATED_PER_BATCH + 1) + 2 * math.ceil(math.log2(size))


def test_the_error_of_a_hopeless_model_names_the_batch_and_the_first_line_of_the_reason():
    bad = [float(i) for i in range(100, 200)]
    with pytest.raises(ModelFailedHere, match=r'ValueError: no such thing as 1[0-9]+", "batch": 1'):
        list(run(task(Doubler(bad)), forgetful, batches([1.0], bad)))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda f: np.zeros(len(f) + 1), "returned 4 rows for a batch of 3"),
        (lambda f: f["x"].sort_values(ascending=False), "another order"),
        (lambda f: ["a"] * len(f), "expected double"),
        (lambda _: None, "a single NoneType"),
    ],
)
def test_a_result_that_is_no_prediction_ends_the_task_and_is_no_matter_of_rows(result, message):
    class Odd:
        predict = staticmethod(result)

    with pytest.raises(ModelFailedHere, match=f"{MARKER}.*the model .*{message}.*{MARKER}"):
        list(run(task(Odd()), forgetful, batches([1.0, 2.0, 3.0])))


def test_nan_and_infinite_predictions_are_refused_row_by_row():
    class Log:
        def predict(self, frame: Any) -> Any:
            with np.errstate(all="ignore"):
                return np.log(frame["x"].to_numpy())

    rows, state, _ = finish(run(task(Log()), forgetful, batches([1.0, -1.0, 0.0])))
    assert [r[ERROR] for r in rows] == [None, *["prediction is missing, NaN or infinite"] * 2]
    assert (state.predicted, state.failed, state.calls) == (1, 2, 1)


def test_a_value_that_no_frame_can_hold_is_refused_with_its_row():
    import datetime as dt

    class Year:
        def predict(self, frame: Any) -> Any:
            return frame["x"].dt.year.to_numpy(np.float64)

    wanted = task(Year(), inputs=(ModelColumn("x", "datetime"),))
    column = pa.array(
        [dt.datetime(2026, 1, 1), dt.datetime(9999, 1, 1), dt.datetime(2027, 1, 1)], pa.timestamp("us")
    )
    rows, _, _ = finish(run(wanted, forgetful, iter([(column,)])))
    assert [r["prediction"] for r in rows] == [2026.0, None, 2027.0]
    assert "out of bounds" in rows[1][ERROR]


def test_only_rows_that_reach_the_model_are_profiled():
    specs = (free_spec("x", "double"), free_spec("prediction", "double"))
    wanted = task(Doubler(), critical=(1,), specs=specs)
    _, state, _ = finish(run(wanted, forgetful, batches([1.0, 2.0, 3.0], masks=[[0, 1, 0]])))
    assert state.profile is not None
    assert {c.spec.name: (c.count, c.minimum, c.maximum) for c in state.profile.columns.values()} == {
        "x": (2, 1.0, 3.0), "prediction": (2, 2.0, 6.0)
    }  # fmt: skip


def packed(model: Any) -> tuple[ModelSpec, bytes]:
    """A model as the driver ships it: a tar archive and its digest."""
    data, buffer = cloudpickle.dumps(model), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("model.pkl")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    payload = buffer.getvalue()
    options = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
    found = hashlib.sha256(payload).hexdigest()
    return ModelSpec(f"model-{found}", found, "sklearn", "predict", options), payload


class Payload:
    def __init__(self, data: bytes) -> None:
        self.data, self.asked = data, 0

    def __call__(self) -> bytes:
        self.asked += 1
        return self.data


def test_a_worker_loads_a_model_once_for_all_its_tasks():
    spec, data = packed(model_factory.Sum())
    payload, wanted = Payload(data), Task(spec, INPUTS, OUTPUTS, ())
    states = [finish(run(wanted, payload, batches([1.0], [2.0])))[1] for _ in range(3)]
    assert payload.asked == 1
    assert [len(s.loads) for s in states] == [1, 0, 0]
    assert len(merge_states(states).workers) == 1


def test_the_cache_is_bounded_and_drops_what_was_used_longest_ago():
    models = [packed(model_factory.Fussy([float(i)])) for i in range(3)]
    payloads = [Payload(data) for _, data in models]
    for i in (0, 1, 0, 2, 0, 1):
        loaders.load(models[i][0], payloads[i])
    assert [p.asked for p in payloads] == [1, 2, 1]
    assert len(loaders._cache) <= loaders._CACHED_MODELS


def test_bytes_that_are_not_those_that_were_verified_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    spec, _ = packed(model_factory.Sum())
    _, other = packed(Trap())
    with pytest.raises(ModelFailedHere, match="cannot be loaded: ValueError: model bytes have sha256"):
        list(run(Task(spec, INPUTS, OUTPUTS, ()), Payload(other), batches([1.0])))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("method", ["predict_proba", "transform"])
def test_a_method_that_the_model_has_not_is_named_beside_those_it_has(method):
    spec, data = packed(model_factory.Sum())
    with pytest.raises(ModelFailedHere, match=f"AttributeError: Sum has no {method}; it has predict"):
        list(run(Task(replace(spec, method=method), INPUTS, OUTPUTS, ()), Payload(data), batches([1.0])))


def test_a_loaded_model_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", f"{tmp_path},/nowhere")
    spec, data = packed(model_factory.Sum())
    loaders._cache.clear()
    loaders.load(spec, Payload(data))
    assert list(tmp_path.iterdir()) == []


def test_a_worker_imports_neither_mlflow_nor_great_expectations_for_a_sklearn_model(tmp_path):
    from sklearn.linear_model import LinearRegression

    signed = model_factory.signature({"x": "double"}, {None: "double"})
    model = LinearRegression().fit(np.array([[1.0], [2.0]]), [2.0, 4.0])
    folder = model_files.read_folder(Path(model_factory.save(model, tmp_path / "m", signed, "skops")), "m")
    data = model_files.pack(folder.path)
    spec = ModelSpec("d", hashlib.sha256(data).hexdigest(), folder.flavor, "predict", folder.options)
    (tmp_path / "task").write_bytes(pickle.dumps((Task(spec, INPUTS, OUTPUTS, ()), data)))
    code = (
        "import pickle, sys, pyarrow as pa\n"
        "from pipelines.scoring.worker import run\n"
        f"task, data = pickle.load(open({str(tmp_path / 'task')!r}, 'rb'))\n"
        "(part,) = run(task, lambda: data, iter([(pa.array([3.0]),)]))\n"
        "print(round(part[0]['prediction'].as_py(), 6), *({'mlflow', 'great_expectations'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["6.0"], done.stderr


counts = st.lists(
    st.lists(st.integers(0, 99), min_size=3, max_size=3).map(tuple), min_size=2, max_size=2
).map(tuple)
whole = st.integers(0, 10**9)
halves = st.integers(0, 10**6).map(lambda n: n / 2)  # sums of these are exact in any order
names = st.sampled_from(["host:1", "host:2", "host:3"])


def profile(values: list[float]) -> TableProfile:
    found = TableProfile.empty((free_spec("x", "double"),))
    found.update({"x": pa.array(values, pa.float64())})
    return found


spreads = st.lists(whole, max_size=3).map(lambda values: reduce(Distribution.observe, values, Distribution()))
states = st.builds(
    WorkerState,
    rows=whole, predicted=whole, failed=whole, batches=whole, calls=whole, failed_calls=whole,
    call_rows=spreads, call_micros=spreads,
    counts=counts,
    loads=st.lists(st.tuples(names, halves), max_size=2).map(tuple),
    workers=st.lists(names, unique=True, max_size=2).map(lambda w: tuple(sorted(w))),
    cpu_seconds=halves, predict_seconds=halves, peak_rss_mb=halves,
    classes=st.just(("0", "1")),
    profile=st.one_of(st.none(), st.lists(st.integers(0, 9).map(float), max_size=5).map(profile)),
)  # fmt: skip


def plainly(state: WorkerState) -> dict[str, Any]:
    """A state without what may depend on the order of merging: the order of loads, the last bits of moments."""
    body = {k: getattr(state, k) for k in state.__dataclass_fields__ if k != "profile"}
    body["loads"] = sorted(state.loads)
    if state.profile is not None:
        body["profile"] = {n: (c.count, c.minimum, c.maximum) for n, c in state.profile.columns.items()}
    return body


@settings(deadline=None)
@given(states, states, states)
def test_accounts_merge_to_the_same_in_any_order_and_any_grouping(a, b, c):
    together = plainly(merge_states([a, b, c]))
    assert plainly(merge_states([c, a, b])) == together
    assert plainly(merge_states([merge_states([a, b]), c])) == together
    assert plainly(merge_states([a, merge_states([b, c])])) == together


@settings(deadline=None)
@given(states)
def test_an_empty_account_changes_nothing(a):
    assert (
        plainly(merge_states([a, WorkerState()])) == plainly(merge_states([WorkerState(), a])) == plainly(a)
    )


@settings(deadline=None)
@given(states)
def test_an_account_survives_the_way_to_the_driver(a):
    assert plainly(WorkerState.from_bytes(a.to_bytes())) == plainly(a)


def test_the_merge_of_many_tasks_is_the_sum_of_their_rows():
    random.seed(7)
    sizes = [random.randint(1, 9) for _ in range(20)]
    parts: list[Callable[[], WorkerState]] = [
        lambda n=n: finish(run(task(Doubler()), forgetful, batches([1.0] * n)))[1] for n in sizes
    ]
    assert merge_states(p() for p in parts).predicted == sum(sizes)
