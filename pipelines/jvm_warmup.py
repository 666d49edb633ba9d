"""What the JVM that started this process can do while Python still imports: two seconds of a session's start.

A session registers the functions of Spark ML, and for that sets up Scala's reflection and all of Spark SQL's own
functions. This needs nothing of a session's settings; below ``spark-submit`` the JVM is there and waits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

# Of Spark 4.1; where another one has no such class, nothing happens.
_REGISTERED = "org.apache.spark.sql.ml.InternalFunctionRegistration$"
_PATIENCE = 30.0  # seconds
_started: list[threading.Thread] = []


def begin(environ: Mapping[str, str] = os.environ) -> None:
    """Let the JVM begin, if spark-submit has started this process. Where it has no such class, nothing happens."""
    if "PYSPARK_GATEWAY_PORT" not in environ or _started:
        return
    with suppress(Exception):
        # not in the thread: two that import modules which import each other break them
        from pyspark import SparkContext

        _started.append(threading.Thread(target=_register, args=(SparkContext,), daemon=True))
        _started[0].start()


def under_way() -> bool:
    """Whether it was begun."""
    return bool(_started)


def finished() -> None:
    """Wait until it is done: a session that is made meanwhile would set up the same classes from another thread."""
    for thread in _started:
        thread.join(_PATIENCE)


def _register(context: Any) -> None:
    with suppress(Exception):
        context._ensure_initialized()
        loader = context._jvm.Thread.currentThread().getContextClassLoader()
        context._jvm.java.lang.Class.forName(_REGISTERED, True, loader)
