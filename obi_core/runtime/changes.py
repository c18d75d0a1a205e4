"""What everybody is told when a probe changes its state: one log line, loud when something is lost, and the hook."""

import logging
from typing import Final

import pluggy

from obi_core.model import ProbeState
from obi_core.runtime.registry import ISOLATED
from obi_core.runtime.status import Status

_MOST_LOSSES: Final = 3
"""Losses named in a log line."""

_log: Final = logging.getLogger("obi.probe")


def tell(manager: pluggy.PluginManager, status: Status) -> None:
    """Log a probe's new status and notify every plugin, each on its own risk. On the agent's thread."""
    _log.log(level_of(status), "%s", sentence(status))
    for plugin in manager.get_plugins():
        others = [other for other in manager.get_plugins() if other is not plugin]
        try:
            manager.subset_hook_caller("obi_probe_changed", others)(
                probe=status.probe, state=status.state, reason=status.reason, mode=status.mode
            )
        except ISOLATED:  # a stranger's hook may raise anything; the others are told all the same
            _log.exception("plugin %s: obi_probe_changed raised", manager.get_name(plugin))


def level_of(status: Status) -> int:
    """How loud a status is: silence is for success only."""
    match status.state:
        case ProbeState.DISCOVERED | ProbeState.LOADED:
            return logging.DEBUG
        case ProbeState.ATTACHED | ProbeState.DETACHED:
            return logging.WARNING if status.degraded or status.sheds else logging.INFO
        case ProbeState.FAILED:
            return logging.WARNING
        case ProbeState.UNSUPPORTED | ProbeState.QUARANTINED:
            return logging.ERROR


def sentence(status: Status) -> str:
    """Say where a probe stands: state, mode, what is lost, why."""
    parts = [f"probe {status.probe}: {status.state.value}"]
    if status.mode:
        parts.append(f" in mode {status.mode}")
    if status.reason.value not in ("ok", "starting", "stopped"):
        parts.append(f" ({status.reason.value})")
    if status.detail:
        parts.append(f": {status.detail}")
    if status.degraded:
        more = len(status.loses) - _MOST_LOSSES
        rest = f"; and {more} more, which obi doctor lists" if more > 0 else ""
        parts.append(f"; degraded, it loses: {'; '.join(status.loses[:_MOST_LOSSES])}{rest}")
    if status.sheds:
        parts.append(f"; it costs less because of its budget {status.over}: {', '.join(status.sheds)}")
    return "".join(parts)
