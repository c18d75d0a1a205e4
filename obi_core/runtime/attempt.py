"""One mode of one probe, tried for real: what it needs, then load and attach."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from obi_core.errors import HostError, KernelError
from obi_core.host import Host
from obi_core.kernel import trial
from obi_core.kernel.base import Loader
from obi_core.kernel.budget import BudgetedLoader
from obi_core.model import Mode, Reason
from obi_core.probe import Probe
from obi_core.runtime.declared import UndeclaredError
from obi_core.runtime.guard import Guard
from obi_core.runtime.registry import ISOLATED
from obi_core.runtime.status import Attempt, Refused
from obi_core.runtime.strangers import said
from obi_core.settings import BudgetSettings, ProbeSettings, sized_by

Step = Callable[[str, Callable[[], None]], None]
"""Runs one named step of a probe."""

REFUSALS: Final = (KernelError, HostError)
"""What says that the node does not allow a mode; anything else is the probe's mistake."""


def plainly(_name: str, call: Callable[[], None]) -> None:
    """Run a step with nobody watching."""
    call()


def begin(
    probe: Probe, mode: Mode, loader: Loader, host: Host, run: Step = plainly, *, budgets: BudgetSettings | None = None
) -> Attempt:
    """Load and attach in one mode; if the node or the budget refuses, close again what was opened.

    Args:
        probe: Fresh, not loaded.
        mode: One of its modes.
        loader: Loads its object.
        host: What the node has.
        run: Runs each of the steps `load`, `attach` and `detach`.
        budgets: What the probe may cost; None: map memory is neither planned nor bounded.
    """
    if missing := trial.unmet(mode.needs, host):
        detail = "; ".join(f"{unmet.need} is missing: {unmet.remedy}" for unmet in missing)
        return Attempt(mode.name, False, missing[0].reason, detail, ())
    if budgets is not None:
        loader = BudgetedLoader(loader, budgets, host.possible_cpus(), _keys(probe))
    guard = Guard(loader, mode)
    try:
        run("load", lambda: probe.load(guard, mode))
        run("attach", lambda: probe.attach(mode))
        guard.check()
    except REFUSALS as error:
        run("detach", probe.detach)
        return Attempt(mode.name, False, trial.reason_of(error), str(error), (), remedy=trial.remedy_of(error))
    memory = loader.memory if isinstance(loader, BudgetedLoader) else None
    lost, refused = losses(probe, mode), _refused(probe)
    if memory is None:
        return Attempt(mode.name, True, Reason.OK, "", lost, refused=refused)
    return Attempt(mode.name, True, Reason.OK, memory.detail, (*lost, *memory.loses), memory, refused=refused)


def _keys(probe: Probe) -> dict[str, str]:
    """The dotted key of the setting behind the size of each map."""
    return {map_name: f"{probe.name}.{field}" for map_name, field in sized_by(probe.settings).items()}


def _errors(probe: Probe) -> Mapping[str, KernelError]:
    try:
        return probe.bpf.refused
    except RuntimeError:  # no BPF object: a probe that reads /proc
        return {}


def _refused(probe: Probe) -> tuple[Refused, ...]:
    """The optional programs that a running probe does without, and why."""
    return tuple(
        Refused(name, trial.reason_of(error), str(error), trial.remedy_of(error)) for name, error in _errors(probe).items()
    )


def losses(probe: Probe, mode: Mode) -> tuple[str, ...]:
    """What a running probe cannot give: its mode's losses and those of the optional programs that were refused."""
    refused = _errors(probe)
    lost = [item for program in mode.programs if program.name in refused for item in program.loses]
    return tuple(dict.fromkeys((*mode.loses, *lost)))


def attempt(
    probe_class: type[Probe],
    settings: ProbeSettings,
    mode: Mode,
    loader: Loader,
    host: Host,
    budgets: BudgetSettings | None = None,
) -> Attempt:
    """Try one mode and undo it: what the doctor shows. Never raises for what the probe or the node does."""
    try:
        probe = probe_class(settings)
        try:
            return begin(probe, mode, loader, host, budgets=budgets)
        finally:
            probe.detach()
    except UndeclaredError as error:
        return Attempt(mode.name, False, Reason.UNDECLARED, str(error), ())
    except ISOLATED as error:  # a stranger's steps may raise anything
        return Attempt(mode.name, False, Reason.STEP_RAISED, said(error), ())


MODE: Final = "obi.probe.mode"
"""Attribute of every point of a mode without BPF."""


def marks(mode: Mode) -> dict[str, str]:
    """Say what every point of a mode carries: one without BPF names itself, for its figures are of another kind."""
    return {} if mode.programs else {MODE: mode.name}


def refusals(attempts: Sequence[Attempt]) -> str:
    """Say why modes were refused; modes with one cause are named together."""
    modes: dict[str, list[str]] = {}
    for attempt in attempts:
        if not attempt.ok:
            modes.setdefault(attempt.detail, []).append(attempt.mode)
    return "; ".join(f"{', '.join(names)}: {detail}" for detail, names in modes.items())
