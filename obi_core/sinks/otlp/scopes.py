"""Which semantic conventions, and whose telemetry: what all three signals say of themselves."""

from collections.abc import Mapping
from typing import Final

from obi_core.sinks.otlp.wire import block, text

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""Of the semantic conventions whose names the resource and the points use."""
OWN_SCOPE: Final = "obi-core"


def scope_parts(scope: str, versions: Mapping[str, str]) -> tuple[str, str]:
    """Split `obi-plugin-tcp 0.1.0`, as the bus calls a distribution; empty is the agent itself.

    Args:
        scope: The distribution; without a version it is looked up.
        versions: Versions of the distributions that are known, by name.
    """
    name, _, version = (scope or OWN_SCOPE).partition(" ")
    return name, version or versions.get(name, "")


def scope_block(field: int, scope: str, versions: Mapping[str, str]) -> bytes:
    """Write an InstrumentationScope: name 1, version 2."""
    name, version = scope_parts(scope, versions)
    return block(field, text(1, name) + text(2, version))
