"""A standalone Spark cluster on the loopback interface: a master and two workers with one core each."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import ROOT, SPARK_HOME, SUBMIT, command_line, daemon, descendants, environment, free_port

from pipelines.java import snappy_options


@dataclass
class Ended:
    """A spark-submit that has ended: its code, its record if it has printed one, and its log."""

    code: int
    record: dict[str, Any]
    log: str


@dataclass
class Cluster:
    home: Path
    url: str
    daemons: list[subprocess.Popen[bytes]]

    def submit(self, *arguments: str, application: str = "jobs/run_batch.py") -> subprocess.Popen[str]:
        """The command a user would give, with what keeps it small and on the loopback interface."""
        conf = {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.executor.memory": "512m",
            "spark.ui.enabled": "false",
            "spark.sql.files.openCostInBytes": "134217728",  # a task for each of the small files
            "spark.driver.extraJavaOptions": snappy_options(),
            "spark.executor.extraJavaOptions": snappy_options(),
            "spark.executorEnv.PYSPARK_PYTHON": environment(self.home)["PYSPARK_PYTHON"],
        }
        settings = [part for key, value in conf.items() if value for part in ("--conf", f"{key}={value}")]
        command = [SUBMIT, "--master", self.url, "--driver-memory", "512m", *settings, application]
        return subprocess.Popen(
            [*command, *arguments], cwd=ROOT, env=environment(self.home), text=True,
            stdout=subprocess.PIPE, stderr=(self.home / "submit.log").open("w"),
        )  # fmt: skip

    def ended(self, process: subprocess.Popen[str], seconds: float = 300) -> Ended:
        out, _ = process.communicate(timeout=seconds)
        lines = [line for line in out.splitlines() if line.startswith("{")]
        record = json.loads(lines[-1]) if lines else {}
        return Ended(process.returncode, record, (self.home / "submit.log").read_text())

    def wait_for(self, word: str, process: subprocess.Popen[str]) -> None:
        """Until the job's log holds a line that ends with a word.

        Raises:
            TimeoutError: it has ended without.
        """
        end = time.monotonic() + 120
        log = self.home / "submit.log"
        while not any(line.endswith(word) for line in log.read_text().splitlines()):
            if process.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"no line ends with {word!r}:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)

    def executors(self) -> list[int]:
        return self._below(lambda pid: "CoarseGrainedExecutorBackend" in command_line(pid))

    def python_daemons(self) -> list[int]:
        """Parents of the Python workers; all of these are called pyspark.daemon."""
        found = [pid for executor in self.executors() for pid in _children(executor)]
        return [pid for pid in found if "pyspark.daemon" in command_line(pid)]

    def python_workers(self) -> list[int]:
        return [pid for parent in self.python_daemons() for pid in _children(parent)]

    def _below(self, wanted: Callable[[int], bool]) -> list[int]:
        return [pid for daemon in self.daemons for pid in descendants(daemon.pid) if wanted(pid)]


def _children(pid: int) -> list[int]:
    """Direct children."""
    below = descendants(pid)
    deeper = {d for child in below for d in descendants(child)}
    return [p for p in below if p not in deeper]


@contextmanager
def cluster(home: Path) -> Iterator[Cluster]:
    """Start the three processes and wait until they know each other; whatever happens, they end with the block."""
    env = environment(home) | {"SPARK_DAEMON_MEMORY": "256m", "SPARK_WORKER_DIR": str(home / "work")}
    port, log = free_port(), home / "master.log"
    url, start = f"spark://127.0.0.1:{port}", str(SPARK_HOME / "bin" / "spark-class")
    master = [start, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port),
              "--webui-port", "0"]  # fmt: skip
    worker = [start, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", "1",
              "--memory", "600m", "--webui-port", "0", url]  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(daemon(master, env, log))
        workers = [stack.enter_context(daemon(worker, env, home / f"worker-{n}.log")) for n in range(2)]
        end = time.monotonic() + 120
        while (text := log.read_text()).count("Registering worker") < 2:
            if time.monotonic() > end:
                raise TimeoutError(f"the cluster did not come up:\n{text[-3000:]}")
            time.sleep(0.1)
        yield Cluster(home, url, workers)
