"""Processes of this machine as the fault tests need them: who descends from whom, and a killing at an instant."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyspark

from pipelines.java import find_java

ROOT = Path(__file__).resolve().parents[1]
SPARK_HOME = Path(pyspark.__file__).parent
SUBMIT = str(SPARK_HOME / "bin" / "spark-submit")


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path) -> dict[str, str]:
    """What a user of spark-submit has: a Java, this interpreter for the workers, and no Spark of another origin."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK", "PYSPARK"))}
    scratch = home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    return env | {
        "JAVA_HOME": str(find_java()),
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TMPDIR": str(scratch),
    }


def _stat(pid: int) -> tuple[int, str] | None:
    """Parent and state of a process, or None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), fields[0]


def command_line(pid: int) -> str:
    """The command line of a process; empty where it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def descendants(root: int) -> list[int]:
    """Living processes that ``root`` has started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _stat(int(entry.name))) and found[1] != "Z":
            children.setdefault(found[0], []).append(int(entry.name))
    result, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        result += below
        todo += below
    return result


def awaited(
    find: Callable[[], list[int]], seconds: float, alive: Callable[[], bool] = lambda: True
) -> list[int]:
    """What ``find`` finds as soon as it is not empty.

    Raises:
        TimeoutError: nothing was found in time, or whatever it depended on has ended.
    """
    end = time.monotonic() + seconds
    while not (found := find()):
        if time.monotonic() > end or not alive():
            raise TimeoutError("the process to kill has not appeared")
        time.sleep(0.05)
    return found


def kill(pid: int) -> bool:
    """SIGKILL; False where the process had ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


@contextlib.contextmanager
def daemon(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the time of a block, gone afterwards with all that it has started."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
    try:
        yield process
    finally:
        below = descendants(process.pid)
        process.kill()
        process.wait()
        for pid in below:
            kill(pid)
