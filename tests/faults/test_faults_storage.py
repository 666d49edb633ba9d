"""Sinks that are full, read-only or gone: exit 73, nothing half-written, and the same run ends well once repaired.

The disks are small tmpfs file systems in a mount namespace of their own (``unshare``): a real ENOSPC and a real
EROFS, which root meets too, and nothing is left on the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from batch_factory import DAY
from processes import ROOT, environment
from small_sinks import CASES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def mounts() -> bool:
    """Whether this user may mount a tmpfs in a namespace."""
    if shutil.which("unshare") is None:
        return False
    probe = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory, model: Path) -> dict[str, Any]:
    """All cases, by name: they share a process, whose JVM takes longer to start than they take."""
    if not mounts():
        pytest.skip("this machine lets us mount nothing, not even in a namespace of its own")
    home = tmp_path_factory.mktemp("sinks")
    program = str(Path(__file__).with_name("small_sinks.py"))
    done = subprocess.run(
        [*UNSHARE, sys.executable, program, str(home), str(model)],
        cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    assert done.returncode == 0, done.stderr[-3000:]
    return {line["case"]: line for line in lines}


AFTER = "full when all is published"  # the one case in which the date is visible already


@pytest.mark.parametrize("name", CASES)
def test_a_sink_that_cannot_be_written_exits_73_and_the_next_run_ends_well(
    ends: dict[str, Any], name: str
) -> None:
    end = ends[name]
    assert end["first"]["code"] == 73, end
    assert end["first"]["status"] == ("published" if name == AFTER else "failed")
    assert end["seen"] == ([f"predictions/run_date={DAY}"] if name == AFTER else [])
    assert end["first"]["hint"]
    assert (end["second"]["code"], end["same"], end["leftovers"]) == (0, True, []), end
    assert end["second"]["status"] == ("already_published" if name == AFTER else "published")
