"""What the deployment tests share: the job packed as it is shipped, and a configured small batch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "faults"))  # processes and the standalone cluster


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make package`` writes; the environment is made once and kept below ``build/``."""
    from scripts import package

    into = tmp_path_factory.mktemp("dist")
    package.main(["--into", str(into)])
    return into
