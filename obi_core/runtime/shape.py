"""Does what a plugin announced have the shape of a probe? One class, complete, of our contract's major version."""

import inspect
import re
from collections.abc import Sequence
from typing import Final

from obi_core.model import API_VERSION, Instrument, Mode, Reason, View
from obi_core.probe import Probe
from obi_core.runtime.declarations import fault
from obi_core.runtime.strangers import shown
from obi_core.settings import ProbeSettings

_TUPLES: Final = (("instruments", Instrument), ("views", View), ("modes", Mode))
_OURS: Final = ("sever", "detach")
"""Methods that are the core's: what a probe opened is closed whatever the probe does."""
_CALLED: Final = ("load", "attach", "collect", "drain", "retune", "shed", "modes_for")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


class MisfitError(Exception):
    """A plugin announced something that the agent cannot run."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def check_name(name: str) -> None:
    """Refuse a plugin's name that could not be a configuration section, a variable and part of a metric's name.

    Raises:
        MisfitError: It is none.
    """
    if not _NAME.fullmatch(name):
        raise wrong(f"its entry point is called {shown(name)}; a name is a letter, then letters, digits and _, all small")


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
        raise wrong(f"announces {len(announced)} probes; one plugin is one probe")
    probe = announced[0]
    if not isinstance(probe, type):
        raise wrong(f"announces {shown(probe)}, which is not a class")
    _of_our_api(probe)
    if not issubclass(probe, Probe):
        raise wrong(f"announces {probe.__name__}, which is not a Probe")
    _complete(name, probe)
    return probe


def wrong(message: str) -> MisfitError:
    """Make the error for what is not of the type that the contract asks for."""
    return MisfitError(Reason.WRONG_TYPE, message)


def _of_our_api(probe: type) -> None:
    version: object = getattr(probe, "api_version", API_VERSION)
    if not (isinstance(version, tuple) and len(version) == len(API_VERSION) and all(type(part) is int for part in version)):
        raise wrong(f"{probe.__name__}.api_version is {shown(version)}, which is not a pair of numbers such as {API_VERSION}")
    if version[0] != API_VERSION[0]:
        made_for = ".".join(map(str, version))
        raise MisfitError(
            Reason.WRONG_API,
            f"{probe.__name__} is made for API {made_for}, this agent has {API_VERSION[0]}.{API_VERSION[1]}: "
            "install a version of the plugin that fits",
        )


def _complete(name: str, probe: type[Probe]) -> None:
    own = getattr(probe, "name", None)
    if own != name:
        raise wrong(f"{probe.__name__}.name is {shown(own)}, its entry point is called {name!r}")
    if inspect.isabstract(probe):
        raise wrong(f"{probe.__name__} does not define {', '.join(sorted(probe.__abstractmethods__))}")
    _methods(probe)
    settings: object = probe.settings_type
    if not (isinstance(settings, type) and issubclass(settings, ProbeSettings)):
        raise wrong(f"{probe.__name__}.settings_type is not a ProbeSettings class")
    for variable, of in _TUPLES:
        value = getattr(probe, variable, None)
        if not (isinstance(value, tuple) and all(isinstance(item, of) for item in value)):
            raise wrong(f"{probe.__name__}.{variable} is not a tuple of {of.__name__}")
    if not probe.modes:
        raise wrong(f"{probe.__name__}.modes is empty; a probe has at least one way to work")
    if found := fault(probe):
        raise wrong(found)


def _methods(probe: type[Probe]) -> None:
    for method in _OURS:
        if getattr(probe, method) is not getattr(Probe, method):
            raise wrong(f"{probe.__name__} defines {method}, which is the core's; what it opens belongs on self._open")
    for method in _CALLED:
        if not callable(getattr(probe, method)):
            raise wrong(f"{probe.__name__}.{method} is not a method")
