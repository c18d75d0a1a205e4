"""Where a value came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

Path = tuple[str, ...]
"""Dotted path of a value, split: `("tcp", "interval_s")`."""


class Origin(Enum):
    """The layers, the stronger first."""

    COMMAND_LINE = "command line"
    ENVIRONMENT = "environment"
    POOL = "pool overlay"
    FILE = "file"
    STANDARD = "OpenTelemetry variable"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Place:
    """One place where a value stands."""

    origin: Origin
    name: str = ""
    """The file as the user wrote it, the variable, or the flag; empty for a default."""
    line: int | None = None
    """Line in the file, from 1."""

    def __str__(self) -> str:
        """`config/obi.yaml:3`, `OBI_TCP__INTERVAL_S`, `--interval`, `default`."""
        return f"{self.name}:{self.line}" if self.line else self.name or self.origin.value


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says: values nested by section, and where each of them stands."""

    values: Mapping[str, Mapping[str, object]]
    places: Mapping[Path, Place]
