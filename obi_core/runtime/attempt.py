"""One mode of one probe, tried for real: what it needs, then load and attach."""

from collections.abc import Callable
from typing import Final

from obi_core.errors import HostError, KernelError
from obi_core.host import Host
from obi_core.kernel import trial
from obi_core.kernel.base import Loader
from obi_core.model import Mode, Reason
from obi_core.probe import Probe
from obi_core.runtime.registry import ISOLATED
from obi_core.runtime.status import Attempt
from obi_core.settings import ProbeSettings

Step = Callable[[str, Callable[[], None]], None]
"""Runs one named step of a probe."""

REFUSALS: Final = (KernelError, HostError)
"""What says that the node does not allow a mode; anything else is the probe's mistake."""


def plainly(_name: str, call: Callable[[], None]) -> None:
    """Run a step with nobody watching."""
    call()


def begin(probe: Probe, mode: Mode, loader: Loader, host: Host, run: Step = plainly) -> Attempt:
    """Load and attach in one mode; if the node refuses, close again what was opened.

    Args:
        probe: Fresh, not loaded.
        mode: One of its modes.
        loader: Loads its object.
        host: What the node has.
        run: Runs each of the steps `load`, `attach` and `detach`.
    """
    if missing := trial.unmet(mode.needs, host):
        detail = "; ".join(f"{unmet.need} is missing: {unmet.remedy}" for unmet in missing)
        return Attempt(mode.name, False, missing[0].reason, detail, ())
    try:
        run("load", lambda: probe.load(loader, mode))
        run("attach", lambda: probe.attach(mode))
    except REFUSALS as error:
        run("detach", probe.detach)
        return Attempt(mode.name, False, trial.reason_of(error), str(error), ())
    return Attempt(mode.name, True, Reason.OK, "", losses(probe, mode))


def losses(probe: Probe, mode: Mode) -> tuple[str, ...]:
    """What a running probe cannot give: its mode's losses and those of the optional programs that were refused."""
    try:
        refused = probe.bpf.refused
    except RuntimeError:  # no BPF object: a probe that reads /proc
        refused = {}
    lost = [item for program in mode.programs if program.name in refused for item in program.loses]
    return tuple(dict.fromkeys((*mode.loses, *lost)))


def attempt(probe_class: type[Probe], settings: ProbeSettings, mode: Mode, loader: Loader, host: Host) -> Attempt:
    """Try one mode and undo it: what the doctor shows. Never raises for what the probe or the node does."""
    try:
        probe = probe_class(settings)
        try:
            return begin(probe, mode, loader, host)
        finally:
            probe.detach()
    except ISOLATED as error:  # a stranger's steps may raise anything
        return Attempt(mode.name, False, Reason.STEP_RAISED, f"{type(error).__name__}: {error}", ())
