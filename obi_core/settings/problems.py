"""From what pydantic found to one sentence: place, key, what is allowed."""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from pydantic import BaseModel, ValidationError

from obi_core.errors import ConfigError
from obi_core.settings.origin import Origin, Path, Place
from obi_core.settings.sources import DELIMITER, PREFIX, nearest

_SLIP: Final = 0.7
"""From this likeness on (difflib) an unknown section is taken for a slip of the pen."""
_SHOULD: Final = re.compile(r"^(Input|String|List|Tuple|Dictionary|Value) should ")
_REPLACED: Final[Mapping[str, str]] = {
    "finite_number": "must be a finite number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text; write it in quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
}


def unknown_key(path: Path, place: Place, model: type[BaseModel]) -> ConfigError:
    """Say that a section has no such key, with the nearest that it has."""
    section, key = path
    if place.origin is Origin.ENVIRONMENT:
        names = [f"{PREFIX}{section}{DELIMITER}{known}".upper() for known in model.model_fields]
        return _error("unknown variable" + nearest(place.name, names), place, path)
    return _error(f'unknown key "{key}" in section "{section}"' + nearest(key, model.model_fields), place, path)


def unknown_section(section: str, place: Place, known: Iterable[str]) -> None:
    """Refuse a section that nobody knows where it cannot be meant for a plugin that is not listed.

    Raises:
        ConfigError: It is nearly the name of a known one, or it is a variable's.
    """
    names = sorted(known)
    if place.origin is Origin.ENVIRONMENT:
        message = f'unknown variable: there is no section "{section}"'
    elif get_close_matches(section.lower(), names, n=1, cutoff=_SLIP):
        message = f'unknown section "{section}"'
    else:
        return
    raise _error(message + nearest(section, names), place, (section,))


def invalid(err: ValidationError, place: Callable[[Path], Place], section: str, model: type[BaseModel]) -> ConfigError:
    """Say what is wrong with the first value that does not fit."""
    first = err.errors(include_url=False)[0]
    path = tuple(str(part) for part in first["loc"])
    field = model.model_fields.get(path[1]) if len(path) > 1 else None
    secret = field is not None and "Secret" in str(field.annotation)
    raw = _SHOULD.sub("must ", first["msg"].removeprefix("Value error, "))
    allowed = _REPLACED.get(first["type"], raw[:1].lower() + raw[1:])
    value = "this value" if secret or len(path) < 2 else _shown(first["input"])  # noqa: PLR2004 - section and key
    if first["type"] == "missing":
        return _error(f"{'.'.join(path)} is required and not set", place(path[:-1] or (section,)), path)
    return _error(f"{'.'.join(path)}: {value} is not allowed; it {allowed}", place(path), path)


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else "an empty value" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - a line stays a line


def _error(message: str, place: Place, path: Path) -> ConfigError:
    file = place.name or None
    return ConfigError(message, file=file, line=place.line, key=".".join(path))
