"""Spark starts, and its workers import, while the driver does something else: a cold run is start-up above all."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from pipelines import session

_MOST_WARMED = 64  # workers
_ONE_WORKER = 2 << 20  # bytes of an input, often compressed, below which nobody would share it
_QUICKLY = 0.0005  # seconds
_PATIENCE = 10.0  # seconds


class Starting:
    """A session that starts while the process does something else; :meth:`session` waits for it.

    Where one is given or active, it is that one, and nothing is started. What fails fails in :meth:`session`. The
    threads are daemons: a process that ends meanwhile does not wait for Spark.

    Args:
        conf: settings of a new session.
        size: bytes of the input; where they are few, not all cores will have something to do.
    """

    def __init__(
        self,
        app_name: str,
        spark: SparkSession | None = None,
        conf: Mapping[str, str] | None = None,
        size: int = _MOST_WARMED * _ONE_WORKER,
    ) -> None:
        self._workers = min(_MOST_WARMED, max(1, -(-size // _ONE_WORKER)))
        self._found: Future[SparkSession] = Future()
        self._warming: threading.Thread | None = None
        given = spark or SparkSession.getActiveSession()
        self._new = given is None
        if given is None:
            session.code_digest()  # reads many small files, which is slow beside a thread that imports
            threading.Thread(target=self._start, args=(app_name, conf), daemon=True).start()
        else:
            self._found.set_result(given)

    def session(self) -> SparkSession:
        """Raises what :func:`pipelines.session.session` raises."""
        spark = self._found.result()
        if self._new and not session.is_remote(
            spark
        ):  # the thread that started it is another one, and what is active belongs to a thread
            SparkSession._get_j_spark_session_class(spark._jvm).setActiveSession(spark._jsparkSession)
        session.ship_code(spark)
        return spark

    def warm(self, modules: Sequence[str]) -> None:
        """Once a new session is there, let its workers import ``modules`` while the driver plans."""
        if self._new:
            self._warming = self._once_there(
                partial(warm_workers, modules=tuple(modules), most=self._workers)
            )

    def warmed(self) -> None:
        """Wait a while for :meth:`warm`: a task that starts before is given a worker of its own, which imports all of
        that once more."""
        if self._warming:
            self._warming.join(_PATIENCE)

    @contextmanager
    def interpreting(self) -> Iterator[None]:
        """For what a new session evaluates on a few rows: to generate code for that, and compile it, takes 0.4 s."""
        spark = self._found.result()
        wanted = {"spark.sql.codegen.factoryMode": "NO_CODEGEN"}
        with session.settings(spark, wanted if self._new and not session.is_remote(spark) else {}):
            yield

    def _once_there(self, step: Callable[[SparkSession], Any]) -> threading.Thread:
        def go() -> None:
            with suppress(Exception):  # nothing depends on it: what cannot work fails where it is due
                if not session.is_remote(self._found.result()):  # a server has been up for long
                    step(self._found.result())

        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        return thread

    def _start(self, app_name: str, conf: Mapping[str, str] | None) -> None:
        before = sys.getswitchinterval()
        sys.setswitchinterval(_QUICKLY)  # else each answer of the JVM waits for an import to pause
        try:
            self._found.set_result(session.session(app_name, conf))
        except BaseException as error:  # whoever waits gets it
            self._found.set_exception(error)
        finally:
            sys.setswitchinterval(before)


def warm_workers(spark: SparkSession, modules: Sequence[str], most: int = _MOST_WARMED) -> None:
    """Start a Python worker per core, at most so many, and let each import ``modules``; what is missing is left out."""

    def load(_: Iterable[bytes]) -> Iterator[None]:
        for name in modules:
            with suppress(Exception):
                importlib.import_module(name)
        return iter(())

    session.ship_code(spark)
    session.in_tasks(spark, load, [b""] * min(spark.sparkContext.defaultParallelism, most))
