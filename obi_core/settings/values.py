"""Value types of settings: how a person writes them, and what the program gets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|d)?")
_SECONDS: Final[Mapping[str | None, float]] = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(B|KiB|MiB|GiB)?")
_UNITS: Final[Mapping[str | None, int]] = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SHARE: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%)?")
_PORTS: Final = 65536


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a server listens: `HOST:PORT`, `[::1]:9090`, or `:9090` for all IPv4 addresses. Port 0: the kernel chooses."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HOST:PORT`.

        Raises:
            ValueError: `text` is no address of this form.
        """
        host, colon, port = text.strip().rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not colon or not port.isascii() or not port.isdigit() or int(port) >= _PORTS or (":" in host and not bracketed):
            raise ValueError("must be HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:9090, [::1]:9090 or :9090")
        return cls(host[1:-1] if bracketed else host or "0.0.0.0", int(port))  # noqa: S104 - asked for by an empty host

    @property
    def ipv6(self) -> bool:
        """Whether `host` is an IPv6 address."""
        return ":" in self.host

    def __str__(self) -> str:
        """`HOST:PORT` again, as it goes into messages and addresses."""
        return f"[{self.host}]:{self.port}" if self.ipv6 else f"{self.host}:{self.port}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic take the text form as well as a ready value."""
        return core_schema.no_info_plain_validator_function(cls._accept)

    @classmethod
    def _accept(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:9090; write it in quotes")


def seconds(value: object) -> object:
    """Read a duration: a number of seconds, or text with a unit (`500ms`, `2s`, `1m`, `1h`).

    Raises:
        ValueError: Neither.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("must be a duration, such as 2s, 500ms or 1m")  # noqa: TRY004 - pydantic wants ValueError
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise ValueError("must be a duration, such as 2s, 500ms or 1m")
    return float(found[1]) * _SECONDS[found[2]]


def octets(value: object) -> object:
    """Read a size: a number of bytes, or text with a unit (`4096`, `64KiB`, `64MiB`, `1GiB`).

    Raises:
        ValueError: Neither.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a size in bytes, such as 65536, 64KiB or 64MiB")
    return round(float(found[1]) * _UNITS[found[2]])


def size_text(count: int) -> str:
    """Write a size for people, such as `512 B`, `64 MiB` or `8.4 MiB`."""
    unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if count >= _UNITS[unit] or unit == "B")
    return f"{count / _UNITS[unit]:.1f}".removesuffix(".0") + f" {unit}"


def share(value: object) -> object:
    """Read a share of the whole: `5%`, or a number from 0 to 1.

    Raises:
        ValueError: Neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    found = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a share, such as 5% or 0.05")
    return float(found[1]) / (100 if found[2] else 1)


def _number(value: object) -> object:
    # pydantic would take `true` for 1.
    if isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic wants ValueError
    return value


def _names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name for name in (part.strip() for part in value.split(",")) if name)
    return value


def pairs(text: str) -> dict[str, str]:
    """Read `key=value,key=value`.

    Raises:
        ValueError: It is text of another form.
    """
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals and key.strip() for key, equals, _ in parts):
        raise ValueError("must be key=value pairs separated by commas")
    return {key.strip(): value.strip() for key, _, value in parts}


def _pairs(value: object) -> object:
    return pairs(value) if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0, le=86400 * 7, allow_inf_nan=False)]
"""A duration above zero, in seconds."""
Count = Annotated[int, BeforeValidator(_number), Field(ge=1)]
"""A whole number from 1."""
Bytes = Annotated[int, BeforeValidator(octets), Field(ge=4096, le=1 << 40)]
"""A size from a page to a tebibyte, in bytes."""
Share = Annotated[float, BeforeValidator(share), Field(gt=0, le=1, allow_inf_nan=False)]
"""A share of the whole, above zero."""
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""A list; on the command line and in a variable: separated by commas."""
OptionalNames = Annotated[tuple[str, ...] | None, BeforeValidator(_names)]
"""A list, or nothing said."""
Pairs = BeforeValidator(_pairs)
"""Lets a mapping be written as `key=value,key=value` on the command line and in a variable."""
