"""What answers at the address of a registry when it is no MLflow server: another program has the port, or none has."""

from __future__ import annotations

import re

# MLflow answers in JSON, errors included, and those with an error_code; its client quotes all else.
_SAID = re.compile(
    r"(?:error code (?P<code>\d+) != 200|in a valid JSON format)\. Response body: '\s*(?P<body>.*)", re.DOTALL
)
_OTHER_JSON = re.compile(r"INTERNAL_ERROR: Response: (?P<body>\{.*)", re.DOTALL)
_PLACE = re.compile(r"ConnectionPool\(host='([^']+)', port=(\d+)\)")
_NOT_HTTP = ("BadStatusLine", "RemoteDisconnected", "Connection aborted", "WRONG_VERSION_NUMBER")
_NOBODY = ("Connection refused", "Errno 111", "Errno 61")
_HINT = (
    "Another program may have the port: start MLflow on a free one (mlflow server --port N) and set "
    "MLFLOW_TRACKING_URI (or tracking_uri) to it. A proxy or a page for logging in answers so, too."
)


def told(address: str, text: str) -> tuple[str, str] | None:
    """Found and next step, or None where MLflow itself has answered, or nothing is known.

    Args:
        address: where the registry should be, fit to be shown.
        text: what MLflow's client raised.
    """
    if match := _SAID.search(text):
        code = f" with HTTP {match['code']}" if match["code"] else ""
        return f"{address} answers{code}, but not as MLflow does: {_quoted(match['body'])}", _HINT
    if match := _OTHER_JSON.search(text):
        return f"{address} answers, but not as MLflow does: {_quoted(match['body'])}", _HINT
    there = _PLACE.search(text)
    if there is None or f"{there[1]}:{there[2]}" not in address:  # a store of artifacts, for example
        return None
    if any(sign in text for sign in _NOT_HTTP):
        return f"what listens at {address} does not speak HTTP, as MLflow does", _HINT
    if any(sign in text for sign in _NOBODY):
        hint = (
            "Start MLflow there (mlflow server --port N), or correct MLFLOW_TRACKING_URI (or tracking_uri)."
        )
        return f"nothing listens at {address}", hint
    return None


def _quoted(body: str) -> str:
    first = (body.strip().rstrip("'").splitlines() or [""])[0]
    return repr(first[:60])
