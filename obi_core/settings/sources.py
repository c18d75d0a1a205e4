"""The layers that are not files: environment variables and command-line flags."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from pydantic import BaseModel

from obi_core.errors import ConfigError
from obi_core.settings.origin import Layer, Origin, Path, Place
from obi_core.settings.values import Pairs, pairs

PREFIX: Final = "OBI_"
DELIMITER: Final = "__"


@dataclass(frozen=True, slots=True)
class Given:
    """A value from the command line with the flag that gave it, so that an error can name the flag."""

    value: object
    flag: str


def nearest(word: str, known: Iterable[str]) -> str:
    """Say what `word` may have meant: `; did you mean "x"?`, else what is known, else nothing."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known: {', '.join(names)}" if names else ""


def environment(environ: Mapping[str, str]) -> Layer:
    """Sort the variables into sections: `OBI_TCP__INTERVAL_S` is `tcp.interval_s`.

    Settings variables are exactly those with `__`; others, such as Kubernetes' OBI_PORT, are not ours.

    Raises:
        ConfigError: A name with an empty part, or with more than one `__`.
    """
    values: dict[str, dict[str, object]] = {}
    places: dict[Path, Place] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or DELIMITER not in name:
            continue
        path = tuple(name.removeprefix(PREFIX).lower().split(DELIMITER))
        if len(path) != 2 or not all(path):  # noqa: PLR2004 - section and key
            raise ConfigError("is no settings variable; they have the form OBI_SECTION__KEY", file=name)
        values.setdefault(path[0], {})[path[1]] = text
        places[path] = Place(Origin.ENVIRONMENT, name)
        places.setdefault(path[:1], places[path])
    return Layer(values, places)


def unfolded(layer: Layer, section: str, model: type[BaseModel]) -> Layer:
    """Take apart the mappings that a variable or flag wrote as `key=value,key=value`, so that they merge key by key."""
    values = dict(layer.values.get(section, {}))
    places = dict(layer.places)
    for key, value in values.items():
        if isinstance(value, str) and key in model.model_fields and Pairs in model.model_fields[key].metadata:
            # what is no such text is left for the model to refuse
            with suppress(ValueError):
                values[key] = parts = pairs(value)
                places |= {(section, key, part): places[section, key] for part in parts}
    return Layer({**layer.values, section: values}, places)


def command_line(overrides: Mapping[str, object]) -> Layer:
    """Sort flags into sections; keys are dotted paths, values plain or `Given`."""
    values: dict[str, dict[str, object]] = {}
    places: dict[Path, Place] = {}
    for dotted, given in overrides.items():
        section, _, key = dotted.partition(".")
        value, flag = (given.value, given.flag) if isinstance(given, Given) else (given, dotted)
        values.setdefault(section, {})[key] = value
        places[section, key] = Place(Origin.COMMAND_LINE, flag)
        places.setdefault((section,), places[section, key])
    return Layer(values, places)
