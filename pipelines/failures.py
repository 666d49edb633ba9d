"""From what Spark, the file system and workers raise to an error with a next step."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from pipelines.errors import (
    MARKER,
    ConfigInvalid,
    InputUnavailable,
    ModelFailed,
    ScorelineError,
    SinkUnwritable,
    SparkUnavailable,
)

_MODEL = re.compile(re.escape(MARKER) + r"(\{.*?\})" + re.escape(MARKER), re.DOTALL)
_NO_ROOM = ("No space left on device", "Disk quota exceeded", "Read-only file system")
_INPUT = (
    "FAILED_READ_FILE",
    "is not a Parquet file",
    "FileNotFoundException",
    "Unexpected end of input stream",
    "Not in GZIP format",
    "ParquetDecodingException",
    "could not read page",
    "EOFException",
    "CHECKSUM",
    "crc",
)
_VERSIONS = re.compile(r"different version: (\S+) than that in driver: ([\d.]*\d)")
_NO_PYTHON = re.compile(r'Cannot run program "([^"]*)"')
_SAID_BY_PYTHON = re.compile(r"Error from python worker:\s*\n([^\n]*)")
_NO_MODULE = re.compile(r"No module named '(\w+)|PACKAGE_NOT_INSTALLED\] (\w+)")
_SERVICE = re.compile(r"Service '(\w+)' failed after")
# What a Connect client says of a server that has gone, and of one that has been started again.
_NO_SERVER = ("StatusCode.UNAVAILABLE", "INVALID_HANDLE.SESSION_")
_UNTRUSTED = re.compile(r"Untrusted types found in the file: (\[[^\]]*\])")


@contextmanager
def explained() -> Iterator[None]:
    """Whatever is raised inside comes out as a ScorelineError, with the original as its cause."""
    try:
        yield
    except ScorelineError:
        raise
    except Exception as error:
        if interrupt := _interrupt(error):
            raise interrupt from error
        raise _told(error) from error


def _interrupt(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interrupt in whose handling a library stumbled."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return error
        error = error.__context__
    return None


def _told(error: Exception) -> ScorelineError:
    if isinstance(error, (PySparkException, Py4JError)):
        return _of_spark(str(error))
    if isinstance(error, OSError) and error.strerror in _NO_ROOM:
        return SinkUnwritable(str(error), hint="Make room on the disk, then run again.")
    return _ours(error)


def _ours(error: Exception) -> ScorelineError:
    return ScorelineError(
        f"{type(error).__name__}: {error}",
        hint="This is a fault of the pipeline; nothing was published. The log has the stack trace.",
    )


def _of_spark(text: str) -> ScorelineError:
    if match := _MODEL.search(text):
        return of_model(json.loads(match[1]))
    first = _cause(text)
    if set_up := _of_python(text) or _of_network(text) or _of_master(text):
        return set_up
    if any(sign in text for sign in _NO_ROOM):
        return SinkUnwritable(
            f"Spark cannot write: {first}", hint="Make room on the sink's disk, then run again."
        )
    if any(sign in text for sign in _NO_SERVER):
        return SparkUnavailable(
            f"the Spark Connect server has gone away: {first}", hint="See that it runs, then run again."
        )
    if "CSVHeaderChecker" in text or "CSV header does not conform" in text:
        return ConfigInvalid(
            f"a CSV header changed while it was read: {first}", hint="Run again on settled files."
        )
    if "/_work/" in first and any(sign in text for sign in ("FileNotFound", "NoSuchFile", "Mkdirs failed")):
        return SinkUnwritable(
            f"the sink went away while Spark was writing: {first}",
            hint="Check that it is mounted, then run again.",
        )
    if "Python worker exited unexpectedly" in text:  # before _INPUT: the JVM reads the end of its pipe as EOF
        return ModelFailed(
            "predict: a Python worker died while it scored: killed, out of memory, or a crash of native code.",
            hint="Nothing was published. Give the workers memory, or try the model on a sample of this input.",
        )
    if "java.lang.OutOfMemoryError" in text:
        return ScorelineError(
            f"Spark ran out of memory: {first}",
            hint="Give spark.driver.memory (local) or spark.executor.memory more; nothing was published.",
        )
    if any(sign in text for sign in _INPUT):
        where = re.search(r"file:/[^\s\"',\]]+", text)
        return InputUnavailable(
            f"source: cannot read {where[0].rstrip('.:') if where else 'an input file'}: {first}",
            hint="Write the file again, then run again.",
        )
    return ScorelineError(f"Spark failed: {first}", hint="The log has the stack trace.")


def _of_python(text: str) -> ScorelineError | None:
    """A Python that cannot be a worker: another minor version, none at all, or one without the libraries."""
    if match := _VERSIONS.search(text):
        found = f"Python {match[1]}, but the driver is Python {match[2]}"
    elif match := _NO_PYTHON.search(text):
        found = f"{match[1]!r}, which cannot be started"
    elif match := _SAID_BY_PYTHON.search(text):
        found = f"a Python that does not start: {match[1].strip()}"
    elif match := _NO_MODULE.search(text):
        found = f"a Python without the package {(match[1] or match[2]).lower()!r}"
    else:
        return None
    return ConfigInvalid(
        f"The Python workers would run {found}.",
        hint=f"Set PYSPARK_PYTHON (on a cluster: --conf spark.executorEnv.PYSPARK_PYTHON=…) to a Python "
        f"{sys.version_info[0]}.{sys.version_info[1]} in which requirements.lock is installed; make puts one at "
        ".venv/bin/python.",
    )


def _of_network(text: str) -> ScorelineError | None:
    """A port that another program has, or an address that is not this machine's."""
    service = _SERVICE.search(text)
    if service is None and "java.net.BindException" not in text:
        return None
    named = service[1] if service else "Spark"
    if "Cannot assign requested address" in text:
        return ConfigInvalid(
            f"{named} cannot listen at its address, which is not this machine's.",
            hint="Set SPARK_LOCAL_IP, or spark.driver.bindAddress, to an address of this machine, such as 127.0.0.1.",
        )
    setting = {"sparkDriver": "spark.driver.port", "SparkUI": "spark.ui.port"}.get(named, "its port")
    return ConfigInvalid(
        f"{named} found its port in use by another program.",
        hint=f"Leave {setting} out, so that a free one is taken, give another one, or raise spark.port.maxRetries.",
    )


def _of_master(text: str) -> ScorelineError | None:
    """A session that nobody has given a master: Spark 4.1's ``spark-submit --remote`` hands none to Python."""
    if "[MASTER_URL_NOT_SET]" not in text:
        return None
    return ConfigInvalid(
        "Spark was started without a master; spark-submit --remote gives a Python application none.",
        hint="Give spark-submit a --master. For a Spark Connect server set SPARK_REMOTE=sc://HOST:15002 and start the "
        "job without spark-submit: python -m jobs.run_batch …",
    )


def _cause(text: str) -> str:
    """The innermost cause that a Java stack trace names, else the first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes[-1] if causes else lines[0] if lines else "")[:500]


def of_model(body: dict[str, object]) -> ScorelineError:
    """What a worker says of a model that failed, or of a file that it cannot read."""
    problem = str(body["problem"])
    if "input" in body:
        return InputUnavailable(
            f"source: cannot read {body['input']}: {problem}", hint="Write the file again, then run again."
        )
    if "WrongEnvironment: " in problem:
        return ConfigInvalid(
            f"{problem.partition('WrongEnvironment: ')[2]}.",
            hint="Give the workers what the model was saved with (model.environment: archive takes a packed "
            "environment), log the model again with what they have, or accept the difference with inherit.",
        )
    if match := _UNTRUSTED.search(problem):
        return ConfigInvalid(
            f"model: its skops file holds types that are not trusted: {match[1]}.",
            hint="If you know them, list them in model.trusted_types.",
        )
    if "cannot be loaded" in problem and ("AttributeError" in problem or "ModuleNotFoundError" in problem):
        return ConfigInvalid(f"{problem}.", hint="Check model.predict, and install what the model needs.")
    return ModelFailed(
        f"predict, partition {body['partition']}, batch {body['batch']}: {problem}.",
        hint="Nothing was published. Try the model on a sample of this input.",
    )
