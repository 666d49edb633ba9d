"""The section ``observability`` of a configuration: which systems a run is exported to."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

_MODULES = {  # by extra: what is imported of it, and what installs it
    "prometheus": ("prometheus_client", "prometheus-client"),
    "opentelemetry": ("opentelemetry.exporter.otlp.proto.http", "opentelemetry-exporter-otlp-proto-http"),
    "openlineage": ("openlineage.client", "openlineage-python"),
}
_SHORTEST_SECRET = 8


def _installed(extra: str) -> Callable[[Any], Any]:
    module, distribution = _MODULES[extra]

    def check(value: Any) -> Any:
        if value and not _found(module):
            raise ValueError(
                f"expected the extra scoreline[{extra}], which is not installed: pip install {distribution}"
            )
        return value

    return check


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _textfile(path: str | None) -> str | None:
    if path is not None and not path.endswith(".prom"):
        raise ValueError(
            "expected a path that ends in .prom, as the textfile collector of node_exporter reads no others"
        )
    return path


def _addressed(wanted: bool) -> bool:
    if wanted and not lineage_address(os.environ):
        raise ValueError(
            "expected OPENLINEAGE_URL, or OPENLINEAGE_CONFIG with the path of an openlineage.yml: set one of them, "
            "so that the events go somewhere"
        )
    return wanted


def lineage_address(environ: Mapping[str, str]) -> bool:
    """Whether the OpenLineage client is told where its events go; its own default is to log them."""
    named = any(
        n in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG") or n.startswith("OPENLINEAGE__") for n in environ
    )
    files = (Path.cwd() / "openlineage.yml", Path("~/.openlineage/openlineage.yml").expanduser())
    return named or any(f.is_file() for f in files)


class Observability(BaseModel):
    """``prometheus``: path of a text file, in which ``{name}`` is the pipeline's name. ``opentelemetry`` and
    ``openlineage`` send to where the standard variables OTEL_* and OPENLINEAGE_* say."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    prometheus: (
        Annotated[
            str,
            StringConstraints(min_length=1),
            AfterValidator(_textfile),
            AfterValidator(_installed("prometheus")),
        ]
        | None
    ) = None
    opentelemetry: Annotated[bool, AfterValidator(_installed("opentelemetry"))] = False
    openlineage: Annotated[bool, AfterValidator(_installed("openlineage")), AfterValidator(_addressed)] = (
        False
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values of the headers that OTLP requests carry: they hold the keys of a collector."""
        names = (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
        )
        pairs = (
            [pair for n in names for pair in os.environ.get(n, "").split(",")] if self.opentelemetry else []
        )
        values = [
            v for pair in pairs for raw in (pair.partition("=")[2].strip(),) for v in (raw, unquote(raw))
        ]
        return tuple(dict.fromkeys(v for v in values if len(v) >= _SHORTEST_SECRET))
