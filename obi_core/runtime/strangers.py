"""What a stranger's code hands us as text, made fit for one line: an exception's words, a name, a repr.

Nothing here trusts the object: its `__str__` and `__repr__` may raise, be endless or hold line breaks and escapes.
"""

from types import UnionType
from typing import Final

_MOST: Final = 300
"""Characters of one sentence that are a stranger's."""


def is_a(value: object, of: type | UnionType) -> bool:
    """Whether a value is of the type that its field is declared with: nothing but its author's care made it so."""
    return isinstance(value, of)


def one_line(text: str, most: int = _MOST) -> str:
    """Put a text on one line: line breaks and runs of blanks are one blank, what a terminal would obey is shown as `?`."""
    words = " ".join(text[: 4 * most].split())
    line = "".join(letter if letter.isprintable() else "?" for letter in words)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def shown(value: object, most: int = 80) -> str:
    """Show any value; one whose repr raises by its type."""
    try:
        return one_line(repr(value), most)
    except Exception:  # noqa: BLE001 - a stranger's __repr__ may raise anything
        return f"a {_type_name(value)} that cannot be shown"


def said(error: BaseException) -> str:
    """Say what was raised: type and words; one whose words raise by its type alone."""
    try:
        words = one_line(str(error))
    except Exception:  # noqa: BLE001 - a stranger's __str__ may raise anything
        return f"{_type_name(error)}, which cannot be shown"
    return f"{_type_name(error)}: {words}"


def _type_name(value: object) -> str:
    return one_line(type(value).__name__, 60)
