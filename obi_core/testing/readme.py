"""The tables of a plugin's README, made from its class: modes, instruments, views, settings.

A README holds them between `<!-- tables -->` and `<!-- /tables -->`. `python -m obi_core.testing.readme PLUGIN README` writes
them; `tables_in` and `tables_of` let a test hold both equal.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from obi_core.model import Instrument, Mode, Program
from obi_core.probe import Probe

_BEGIN: Final = "<!-- tables -->"
_END: Final = "<!-- /tables -->"


def tables_of(probe: type[Probe]) -> str:
    """Write the tables of one probe class as Markdown."""
    return "\n".join(
        (
            "## Modes",
            *_table(("mode", "needs", "loses", "programs"), map(_mode, probe.modes)),
            "## Programs that a mode can do without",
            *_table(("program", "without it, lost"), sorted({(f"`{p.name}`", ", ".join(p.loses)) for p in _optional(probe)})),
            "## Instruments",
            *_table(("name", "kind", "unit", "attributes", "what"), map(_instrument, probe.instruments)),
            "## Views",
            *_table(("view", "columns"), ((f"`{v.name}`", ", ".join(c.name for c in v.columns)) for v in probe.views)),
            f"## Settings (section `{probe.name}`)",
            *_table(("key", "default", "what"), _settings(probe)),
        )
    ).strip()


def tables_in(readme: Path) -> str:
    """Take the tables out of a README.

    Raises:
        ValueError: The markers are not there.
    """
    _, _, rest = readme.read_text().partition(_BEGIN)
    tables, marker, _ = rest.partition(_END)
    if not marker:
        raise ValueError(f"{readme} has no {_BEGIN} … {_END}")
    return tables.strip()


def write_tables(probe: type[Probe], readme: Path) -> None:
    """Put the tables of a probe class into a README, in place of those that are there."""
    tables_in(readme)
    before, _, rest = readme.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    readme.write_text(f"{before}{_BEGIN}\n{tables_of(probe)}\n{_END}{after}")


def _optional(probe: type[Probe]) -> Iterable[Program]:
    return (program for mode in probe.modes for program in mode.programs if program.loses)


def _mode(mode: Mode) -> tuple[str, ...]:
    programs = ", ".join(f"`{p.name}`" for p in mode.programs)
    return (f"`{mode.name}`", ", ".join(f"`{n}`" for n in mode.needs), "; ".join(mode.loses) or "nothing", programs or "none")


def _instrument(each: Instrument) -> tuple[str, ...]:
    attributes = ", ".join((*(f"`{a}`" for a in each.attributes), *(("subject",) if each.subject else ())))
    return (f"`{each.name}`", each.kind.value.replace("_", " "), f"`{each.unit}`", attributes, each.description)


def _settings(probe: type[Probe]) -> Iterable[tuple[str, ...]]:
    for name, field in probe.settings_type.model_fields.items():
        yield f"`{name}`", "" if field.default is None else f"`{field.default}`", field.description or ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines, ""] if lines else ["", "None.", ""]


def main(arguments: Sequence[str]) -> int:
    """Write the tables of an installed plugin into a README."""
    plugin, readme = arguments
    (entry,) = {each.value: each for each in entry_points(group="obi.plugins", name=plugin)}.values()
    (probe,) = entry.load().obi_register_probes()
    write_tables(probe, Path(readme))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
