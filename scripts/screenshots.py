"""Pictures of the demo's pages for the README: run ``make run-batch`` first, then ``python -m scripts.screenshots``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPORTS = Path("demo/out/breast-cancer/reports")
TARGET = Path("docs/images")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def main() -> None:
    """Photograph the page of the shifted day and the index."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium on the PATH: install the package chromium")
    day = min((REPORTS / "run_date=2026-03-03").glob("r*.html"))
    TARGET.mkdir(parents=True, exist_ok=True)
    for page, name, size in (
        (day, "run-page", "1100,1250"),
        (REPORTS / "index.html", "index-page", "1100,800"),
    ):
        with tempfile.TemporaryDirectory() as profile:
            target = (TARGET / f"{name}.png").absolute()
            command = [browser, *QUIET, f"--user-data-dir={profile}", f"--window-size={size}"]
            subprocess.run(
                [*command, f"--screenshot={target}", page.absolute().as_uri()], check=True, timeout=120
            )


if __name__ == "__main__":
    main()
