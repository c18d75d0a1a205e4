"""Text of the kernel's files → numbers. Pure; what has not the form that it should have is a ValueError that shows it."""

from collections.abc import Mapping
from typing import Final

_NO_LIMIT: Final = 1 << 62
"""v1 has no word for "no limit": it says the largest number there is, rounded to pages (9223372036854771712)."""
_MICROSECONDS: Final = 1_000_000
_SHOWN: Final = 60


def number(text: str) -> int:
    """Read a file of one number that is not negative."""
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isdigit()):
        raise ValueError(f"has {_shown(text)} where one number should be")
    return int(stripped)


def limit(text: str) -> int | None:
    """Read a limit; None: there is none (`max`, -1, or v1's largest number)."""
    if text.strip() in {"max", "-1"}:
        return None
    value = number(text)
    return None if value >= _NO_LIMIT else value


def keyed(text: str) -> Mapping[str, int]:
    """Read lines of a word and a number: cpu.stat, memory.events, /proc/vmstat; `Name:  12 kB` of /proc/meminfo likewise."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or not words[1].isdigit():  # noqa: PLR2004 - a word and a number
            raise ValueError(f"has the line {_shown(line)} where a word and a number should be")
        found[words[0].removesuffix(":")] = int(words[1])
    return found


def numbers(text: str, count: int) -> tuple[int, ...]:
    """Read a line of at least `count` numbers; those beyond are left."""
    words = text.split()
    if len(words) < count or not all(word.isdigit() for word in words[:count]):
        raise ValueError(f"has {_shown(text)} where {count} numbers should be")
    return tuple(int(word) for word in words[:count])


def quota(text: str) -> float | None:
    """Read v2's cpu.max (`50000 100000`, `max 100000`): CPUs; None: no limit."""
    words = text.split()
    if words[:1] == ["max"]:
        return None
    used, period = numbers(text, 2)
    if not period:
        raise ValueError(f"has {_shown(text)}, a period of nothing")
    return used / period


def pressure(text: str) -> Mapping[str, float]:
    """Read a pressure file: seconds in all, by `some` and `full`; of the CPU older kernels have `some` alone."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        total = rest.rpartition("total=")[2]
        if kind not in {"some", "full"} or not total.isdigit():
            raise ValueError(f"has the line {_shown(line)} where pressure should be")
        found[kind] = int(total) / _MICROSECONDS
    return found


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
