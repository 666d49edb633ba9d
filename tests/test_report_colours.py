"""Every colour of the pages can be told from what it stands on, on screen by day and by night, and in print."""

from __future__ import annotations

import re

import pytest

from pipelines import report

INKS = ("ink", "muted", "accent", "good", "warn", "bad", "plain")
TINTS = ("good-soft", "warn-soft", "bad-soft", "plain-soft")


def themes() -> dict[str, dict[str, str]]:
    """The colours as the style sheet has them: those of the dark page and of print overrule the light ones."""
    style = report.render_index([])
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    light, dark, printed = (
        {
            name: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])
            for name, value in re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})\b", block)
        }
        for block in blocks
    )
    return {"light": light, "dark": light | dark, "print": light | printed}


THEMES = themes()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ink", INKS)
def test_text_is_legible_on_each_ground_it_stands_on(theme: str, ink: str) -> None:
    colours = THEMES[theme]
    assert contrast(colours[ink], colours["paper"]) >= 4.5
    assert contrast(colours[ink], colours["panel"]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("tint", TINTS)
def test_a_verdict_is_legible_in_its_box(theme: str, tint: str) -> None:
    assert contrast(THEMES[theme]["ink"], THEMES[theme][tint]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("line", ["accent", "muted", "good", "warn", "bad"])
def test_a_line_of_a_picture_can_be_told_from_the_paper(theme: str, line: str) -> None:
    """WCAG 2.2, 1.4.11: graphics need 3 to 1. The fill of the baseline is fainter; its outline is ``muted``."""
    assert contrast(THEMES[theme][line], THEMES[theme]["paper"]) >= 3


@pytest.mark.parametrize(
    ("one", "other", "ratio"), [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48)]
)
def test_contrast_is_computed_as_the_guideline_has_it(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.01)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2.2, relative luminance)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
