"""Does what a plugin announced have the shape of a probe? One class, complete, of our contract's major version."""

import inspect
from collections.abc import Sequence
from typing import Final

from obi_core.model import API_VERSION, Instrument, Kind, Mode, Reason, View
from obi_core.probe import Probe
from obi_core.settings import ProbeSettings

_TUPLES: Final = (("instruments", Instrument), ("views", View), ("modes", Mode))


class MisfitError(Exception):
    """A plugin announced something that the agent cannot run."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def probe_of(name: str, announced: Sequence[object]) -> type[Probe] | None:
    """Pick the plugin's one probe class; None if it announced none.

    Args:
        name: The entry point's name.
        announced: What `obi_register_probes` returned.

    Raises:
        MisfitError: It is not one complete probe class of that name and of our major version.
    """
    if not announced:
        return None
    if len(announced) > 1:
        raise _wrong(f"announces {len(announced)} probes; one plugin is one probe")
    probe = announced[0]
    if not isinstance(probe, type):
        raise _wrong(f"announces {probe!r}, which is not a class")
    version = getattr(probe, "api_version", None)
    if isinstance(version, tuple) and version and version[0] != API_VERSION[0]:
        made_for = ".".join(map(str, version))
        raise MisfitError(
            Reason.WRONG_API,
            f"{probe.__name__} is made for API {made_for}, this agent has {API_VERSION[0]}.{API_VERSION[1]}: "
            "install a version of the plugin that fits",
        )
    if not issubclass(probe, Probe):
        raise _wrong(f"announces {probe.__name__}, which is not a Probe")
    _complete(name, probe)
    return probe


def _complete(name: str, probe: type[Probe]) -> None:
    own = getattr(probe, "name", None)
    if own != name:
        raise _wrong(f"{probe.__name__}.name is {own!r}, its entry point is called {name!r}")
    if inspect.isabstract(probe):
        raise _wrong(f"{probe.__name__} does not define {', '.join(sorted(probe.__abstractmethods__))}")
    settings: object = probe.settings_type
    if not (isinstance(settings, type) and issubclass(settings, ProbeSettings)):
        raise _wrong(f"{probe.__name__}.settings_type is not a ProbeSettings class")
    for variable, of in _TUPLES:
        value = getattr(probe, variable, None)
        if not (isinstance(value, tuple) and all(isinstance(item, of) for item in value)):
            raise _wrong(f"{probe.__name__}.{variable} is not a tuple of {of.__name__}")
    if not probe.modes:
        raise _wrong(f"{probe.__name__}.modes is empty; a probe has at least one way to work")
    for instrument in probe.instruments:
        if instrument.kind is Kind.HISTOGRAM and instrument.buckets is None:
            raise _wrong(f"{instrument.name} is a histogram without buckets")


def _wrong(message: str) -> MisfitError:
    return MisfitError(Reason.WRONG_TYPE, message)
