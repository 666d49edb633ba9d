"""A Spark Connect server on the loopback interface, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import SUBMIT, daemon, environment, free_port

from pipelines.java import snappy_options


@dataclass
class Server:
    url: str
    process: subprocess.Popen[bytes]

    def client(self, home: Path) -> Mapping[str, str]:
        """The environment of a client: it knows the server, and no Java."""
        env = {k: v for k, v in environment(home).items() if k not in ("JAVA_HOME", "SPARK_HOME")}
        return env | {"SPARK_REMOTE": self.url}


@contextmanager
def connect_server(home: Path, master: str = "local[2, 3]") -> Iterator[Server]:
    """Start the server and wait until it listens; it ends with the block."""
    port, log = free_port(), home / "connect.log"
    conf = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": snappy_options(),
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
    }
    settings = [part for key, value in conf.items() if value for part in ("--conf", f"{key}={value}")]
    main = ("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal")
    command = [SUBMIT, "--master", master, "--driver-memory", "1g", *settings, *main]
    with daemon(command, environment(home), log) as process:
        end = time.monotonic() + 120
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"the server did not come up:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield Server(f"sc://127.0.0.1:{port}", process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
