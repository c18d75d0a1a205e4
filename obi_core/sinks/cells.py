"""How a person sees a value: by its unit, harmless, and no wider than its place."""

import unicodedata
from typing import Final

_TIMES: Final = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
_BYTES: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_LONG: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def cell(value: str | float | None, unit: str) -> str:
    """Write one cell.

    Args:
        value: Text or a number in `unit`; None is an empty cell.
        unit: UCUM: `s` and `By` are scaled, everything else is written as it is.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value)
    if unit == "s":
        return duration(value)
    if unit == "By":
        return size(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Write a time: `0 s`, `850 µs`, `1.2 ms`, `42 s`, `3 m 12 s`, `2 h 5 m`, `3 d 4 h`."""
    for whole, name, part, part_name in _LONG:
        if seconds >= whole:
            return f"{int(seconds // whole)} {name} {int(seconds % whole // part)} {part_name}"
    for scale, name in reversed(_TIMES):
        if seconds >= scale:
            return f"{_short(seconds / scale)} {name}"
    return "0 s"


def size(octets: float) -> str:
    """Write an amount of data in powers of a thousand: `0 B`, `999 B`, `12.3 kB`, `4.0 GB`."""
    scaled, step = float(octets), 0
    while abs(scaled) >= 999.95 and step + 1 < len(_BYTES):  # noqa: PLR2004 - would be written as 1000.0
        scaled, step = scaled / 1000, step + 1
    return f"{scaled:.0f} B" if step == 0 else f"{scaled:.1f} {_BYTES[step]}"


def clean(text: str) -> str:
    """Replace what could do something to a terminal or hide in it: control and format characters, lone surrogates."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("?" if unicodedata.category(char)[0] == "C" else char for char in text)


def columns(text: str) -> int:
    """Count the columns that clean text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Bring clean text to exactly `width` columns: padded, or cut with an ellipsis."""
    taken = columns(text)
    if taken > width:
        kept, taken = [], 0
        for char in text:
            if taken + _columns(char) > width - 1:
                break
            kept.append(char)
            taken += _columns(char)
        text, taken = "".join(kept) + "…" * (width > 0), taken + (width > 0)
    blank = " " * (width - taken)
    return blank + text if right else text + blank


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _short(number: float) -> str:
    return f"{number:.1f}" if number < 9.95 else f"{number:.0f}"  # noqa: PLR2004 - one digit behind the point below ten
