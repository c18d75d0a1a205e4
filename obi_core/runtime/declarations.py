"""What a probe class declares, looked at field by field: dataclasses take any value, and sinks trust what is in them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from obi_core.kernel.trial import unknown_needs
from obi_core.model import Buckets, Column, Fold, Instrument, Kind, Mode, Program, View
from obi_core.probe import Probe
from obi_core.runtime.strangers import is_a, shown

_PART: Final = r"[a-z][a-z0-9_]*"
_ATTRIBUTE: Final = re.compile(rf"{_PART}(\.{_PART})*")
_C_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODE: Final = re.compile(r"[a-z][a-z0-9_-]*")


def fault(probe: type[Probe]) -> str:
    """Say the first thing that is wrong with the instruments, views and modes of a class; empty if nothing is.

    The three are known to be tuples of the right classes.
    """
    return next(_faults(probe), "")


def _faults(probe: type[Probe]) -> Iterator[str]:
    for instrument in probe.instruments:
        yield from _instrument(probe.name, instrument)
    for view in probe.views:
        yield from _view(view)
    for mode in probe.modes:
        yield from _mode(mode)
    yield from _twice("instruments", [each.name for each in probe.instruments])
    yield from _twice("views", [each.name for each in probe.views])
    yield from _twice("modes", [each.name for each in probe.modes])


def _instrument(probe: str, each: Instrument) -> Iterator[str]:
    name = each.name
    if not is_a(name, str) or not re.fullmatch(rf"obi\.{probe}(\.{_PART})+", name):
        yield f"an instrument is called {shown(name)}; its name must be obi.{probe}.NOUN, of small letters, digits and _"
        return
    if not is_a(each.kind, Kind) or not is_a(each.fold, Fold):
        yield f"{name} has the kind {shown(each.kind)} and the fold {shown(each.fold)}; use Kind and Fold"
    if not (is_a(each.unit, str) and is_a(each.description, str)):
        yield f"{name} has a unit or a description that is not text"
    if not _words(each.attributes, _ATTRIBUTE):
        yield f"{name} declares the attributes {shown(each.attributes)}, which is not a tuple of attribute names"
    elif not (is_a(each.headline, tuple) and all(_points(point, each.attributes) for point in each.headline)):
        yield f"{name} has a headline that is not a tuple of mappings from its attributes to text"
    if each.kind is Kind.HISTOGRAM and each.buckets is None:
        yield f"{name} is a histogram without buckets"
    if each.buckets is not None and not _layout(each.buckets):
        yield f"{name} has buckets that are no layout: {shown(each.buckets)}"


def _layout(buckets: object) -> bool:
    if not isinstance(buckets, Buckets):
        return False
    whole = all(is_a(number, int) for number in (buckets.first, buckets.count, buckets.scale))
    return whole and buckets.count > 0 and is_a(buckets.sum_unit, int | float) and buckets.sum_unit > 0


def _points(point: object, attributes: Sequence[str]) -> bool:
    return isinstance(point, Mapping) and all(key in attributes and isinstance(text, str) for key, text in point.items())


def _view(each: View) -> Iterator[str]:
    if not (is_a(each.name, str) and _ATTRIBUTE.fullmatch(each.name)):
        yield f"a view is called {shown(each.name)}; its name must be of small letters, digits and _"
        return
    if not (is_a(each.columns, tuple) and all(is_a(column, Column) for column in each.columns)):
        yield f"view {each.name} has columns that are not a tuple of Column"
    elif not all(_column(column) for column in each.columns):
        yield f"view {each.name} has a column whose name or unit is not text or whose width is not a number"
    elif each.order and each.order not in [column.name for column in each.columns]:
        yield f"view {each.name} is sorted by {shown(each.order)}, which is none of its columns"
    if not is_a(each.description, str):
        yield f"view {each.name} has a description that is not text"


def _column(column: Column) -> bool:
    return is_a(column.name, str) and is_a(column.unit, str) and is_a(column.width, int) and column.width > 0


def _mode(each: Mode) -> Iterator[str]:
    if not (is_a(each.name, str) and _MODE.fullmatch(each.name)):
        yield f"a mode is called {shown(each.name)}; its name must be of small letters, digits, _ and -"
        return
    if not (is_a(each.programs, tuple) and all(is_a(program, Program) for program in each.programs)):
        yield f"mode {each.name} has programs that are not a tuple of Program"
        return
    for program in each.programs:
        if not (is_a(program.name, str) and _C_NAME.fullmatch(program.name) and _words(program.loses)):
            yield f"mode {each.name} has a program {shown(program)} without a C function's name or a tuple of losses"
    yield from _twice(f"programs of mode {each.name}", [program.name for program in each.programs])
    if not (_words(each.needs) and _words(each.loses)):
        yield f"mode {each.name} has needs or losses that are not a tuple of texts"
    elif unknown := unknown_needs(each.needs):
        yield f"mode {each.name} needs {unknown}"


def _words(value: object, of: re.Pattern[str] | None = None) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) and (of is None or of.fullmatch(item)) for item in value)


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"two {what} are called {shown(name)}; rename one"
        seen.add(name)
