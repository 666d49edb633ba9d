"""Pictures of the demo's pages for the README: run ``make run-batch`` first, then ``python -m scripts.screenshots``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from scripts import browser

REPORTS = Path("demo/out/breast-cancer/reports")
TARGET = Path("docs/images")


@dataclass(frozen=True)
class Picture:
    """One page as one reader sees it; ``width`` and ``height`` in CSS pixels."""

    name: str
    page: str
    width: int
    height: int
    dark: bool = False
    heading: str = ""  # what is shown at the top


PICTURES = (
    Picture("run-page", "run_date=2026-03-03/r*.html", 1100, 1250),
    Picture("run-page-dark", "run_date=2026-03-03/r*.html", 1100, 1250, dark=True),
    Picture("run-page-phone", "run_date=2026-03-03/r*.html", 390, 1250),
    Picture("quarantine", "run_date=2026-03-02/r*.html", 1100, 1150, heading="#rules"),
    Picture("index-page", "index.html", 1100, 1250),
    Picture("index-page-dark", "index.html", 1100, 1250, dark=True),
    Picture("index-page-phone", "index.html", 390, 1250),
)


def photograph(reports: Path, target: Path, chromium: str) -> list[Path]:
    """One PNG for each of ``PICTURES`` below ``target``; raises ValueError where a page has anything to say."""
    target.mkdir(parents=True, exist_ok=True)
    made = []
    with browser.browser(chromium) as tab:
        for picture in PICTURES:
            page = min(reports.glob(picture.page))
            tab.open(
                page.absolute().as_uri() + picture.heading,
                width=picture.width,
                height=picture.height,
                dark=picture.dark,
            )
            if found := tab.complaints():
                raise ValueError(f"{page}: {found}")
            made.append(target / f"{picture.name}.png")
            tab.screenshot(made[-1])
    return made


def main() -> None:
    """Photograph the pages of the demo, by day, by night and on a phone."""
    chromium = browser.found()
    if chromium is None:
        sys.exit("no Chromium on the PATH: install the package chromium")
    if not (REPORTS / "index.html").is_file():
        sys.exit(f"{REPORTS} has no pages: run `make run-batch` first")
    for path in photograph(REPORTS, TARGET, chromium):
        print(path)


if __name__ == "__main__":
    main()
