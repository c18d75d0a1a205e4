"""Small files of the kernel's, read whole; None where there is none, or it is not for us."""

from pathlib import Path


def text(path: Path) -> str | None:
    """Contents without surrounding white space."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def number(path: Path) -> int | None:
    """The one decimal number that a file holds."""
    try:
        return int(text(path) or "")
    except ValueError:
        return None


def chosen(path: Path) -> str | None:
    """The choice that stands in brackets: `none` of `[none] integrity confidentiality`."""
    found = text(path)
    if found is None:
        return None
    return next((word.strip("[]") for word in found.split() if word.startswith("[")), found or None)


def fields(path: Path) -> dict[str, str]:
    """Lines of a name, a colon and a value."""
    lines = (text(path) or "").splitlines()
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
