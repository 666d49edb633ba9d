"""The sections ``notify`` and ``retrain`` of a configuration: who is told of what, and when to train again."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

Happening = Literal["published", "drift", "column_drift", "refused", "blocked", "failed"]
Statistic = Literal[
    "js_distance",
    "wasserstein",
    "population_stability_index",
    "ks_statistic",
    "tv_distance",
    "l_infinity_distance",
    "quarantined",
]
Seconds = Annotated[float, Field(gt=0, le=60)]
Word = Annotated[str, StringConstraints(min_length=1)]
_SHORTEST_SECRET = 12  # a path such as /hook is no secret, and masking it would spoil other texts


def _web_address(value: SecretStr) -> SecretStr:
    address = urlsplit(value.get_secret_value())
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("expected an address that begins with https:// or http://")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, hide_input_in_errors=True)


class Webhook(_Section):
    """JSON is posted to ``url``. Up to ``retries`` more attempts, each at most ``timeout_seconds`` long."""

    url: Annotated[SecretStr, AfterValidator(_web_address)]
    timeout_seconds: Seconds = 10
    retries: Annotated[int, Field(ge=0, le=5)] = 3


class Command(_Section):
    """A program with its arguments, started without a shell; JSON comes on its standard input."""

    run: Annotated[tuple[Word, ...], Field(min_length=1)]
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 60


class _Channels(_Section):
    webhook: Webhook | None = None
    command: Command | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never be written: whoever has the address of a webhook can post to it."""
        if self.webhook is None:
            return ()
        url = self.webhook.url.get_secret_value()
        address = urlsplit(url)
        path = f"{address.path}?{address.query}".rstrip("?")
        return (url, path) if len(path) >= _SHORTEST_SECRET else (url,)


class Notify(_Channels):
    """``events``: what is worth a message. ``tag``: the verdict of each run as a tag on the model version.

    ``drift`` is that of the table, ``column_drift`` that of any column.
    """

    events: tuple[Happening, ...] = ("drift", "refused", "blocked", "failed")
    tag: bool = False


class Retrain(_Channels):
    """An event where ``statistic`` lies above ``threshold`` in ``at_least`` of the ``of_last`` dates, the newest
    among them, on the same column. ``quarantined`` is the share of quarantined rows and has no columns;
    ``columns`` limits the others, which look at every column by default. ``folder`` receives events as files.
    """

    statistic: Statistic
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    at_least: Annotated[int, Field(ge=1, le=1000)] = 1
    of_last: Annotated[int, Field(ge=1, le=1000)] = 1
    columns: tuple[str, ...] = ()
    folder: Word | None = None

    @model_validator(mode="after")
    def _possible(self) -> Retrain:
        if self.at_least > self.of_last:
            raise ValueError(
                f"at_least is {self.at_least} of of_last {self.of_last} runs, expected no more than those"
            )
        return self
