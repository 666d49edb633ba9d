"""Take secrets out of text, in whichever way they are written there."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from urllib.parse import quote, quote_plus

_SHORTEST = 4  # a shorter secret would be found everywhere
_SHORTEST_PIECE = 12  # of a secret that stands there only in part
_SHORTEST_BY_NAME = 8  # of a variable that nobody told us of
_USERINFO = re.compile(r"(\w+://)(?:[^/\s'\"]*|[^/@\s:'\"]*:(?!\d+/)[^\s@'\"]*)@")
_SIGNED = re.compile(
    r"(?i)((?:x-(?:amz|goog)-\w+|sig|signature|token|passw(?:or)?d|pwd|secret|credential|"
    r"(?:access|api|account|private|shared)_?key(?:_?id)?)=)[^&\s'\"]+"
)
_HEADER = re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:bearer\s+|basic\s+)?)[\w.~+/-]{8,}=*")
_SURE = re.compile(r"(?i)passw|passphrase|secret")
_LIKELY = re.compile(
    r"(?i)(?:^|_)(?:token|(?:api|access|account|private|storage)?key|credentials?|sas|pwd)(?:_|$)"
)
_WORD = re.compile(r"[A-Za-z]+|[\d.]+")  # what a setting looks like, and no token does


def mask(text: str, secrets: Iterable[str]) -> str:
    """``text`` without the given secrets, however quoted or escaped, whole or cut short."""
    forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    for form in sorted(forms, key=len, reverse=True):
        text = _without_pieces(text, form)
    return text


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` without the given secrets, without passwords in URIs and without signatures in their queries."""
    text = _USERINFO.sub(r"\1***@", mask(text, secrets))
    return _HEADER.sub(r"\1***", _SIGNED.sub(r"\1***", text))


def named_like_secrets(environ: Mapping[str, str]) -> list[str]:
    """Values of the variables that look like secrets; paths of files and plain words are none.

    Another thread may take a variable away meanwhile, as an exporter does that answers late.
    """
    found = ((name, environ.get(name, "")) for name in list(environ))
    return [value for name, value in found if _is_secret(name, value)]


def _is_secret(name: str, value: str) -> bool:
    if len(value) < _SHORTEST_BY_NAME or os.path.exists(value):
        return False
    return bool(_SURE.search(name) or (_LIKELY.search(name) and not _WORD.fullmatch(value)))


def _forms(secret: str) -> Iterator[str]:
    """A secret as it stands in messages, JSON, pages and addresses; of several lines, each of them too."""
    escaped = html.escape(secret)
    yield from (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe=""), quote(secret))
    yield from (quote_plus(secret), escaped, escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;"))
    yield from (line for line in secret.splitlines() if len(line) >= _SHORTEST_PIECE)


def _without_pieces(text: str, secret: str) -> str:
    """A message that was cut within a secret still tells its beginning: half of it, or more, is masked as well."""
    shortest = max(_SHORTEST_PIECE, (len(secret) + 1) // 2)
    start = text.find(secret[:shortest]) if len(secret) > shortest else -1
    while start >= 0:
        pairs = zip(secret, text[start:], strict=False)
        length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        text = text[:start] + "***" + text[start + length :]
        start = text.find(secret[:shortest], start)
    return text
