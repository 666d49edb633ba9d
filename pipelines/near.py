"""What a name that is not there was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def near(name: str, known: Sequence[str], most: int = 3) -> list[str]:
    """Those of ``known`` that are spelled like ``name``, whatever the case, the likeliest first."""
    folded = {k.casefold(): k for k in known}
    return [folded[n] for n in difflib.get_close_matches(name.casefold(), list(folded), n=most, cutoff=0.6)]


def told(name: str, known: Sequence[str]) -> str:
    """``; near: 'a', 'b'``, or nothing."""
    found = near(name, known)
    return f"; near: {', '.join(map(repr, found))}" if found else ""
