"""The hooks of OBI: signatures and docstrings only.

Hooks announce, objects act. A hook hands over classes or says that something changed; the work is plain method calls on
the objects, so that one bad plugin cannot take the others with it.
"""

from collections.abc import Iterable

import pluggy

from obi_core.model import ProbeState, Reason
from obi_core.probe import Probe
from obi_core.sink import Sink

hookspec = pluggy.HookspecMarker("obi")
hookimpl = pluggy.HookimplMarker("obi")
"""Marks a plugin's implementation of one of the hooks below."""


@hookspec
def obi_register_probes() -> Iterable[type[Probe]]:
    """Return the probe classes of this plugin. No kernel, no heavy import."""
    return ()


@hookspec
def obi_register_sinks() -> Iterable[type[Sink]]:
    """Return the sink classes of this plugin. No socket, no heavy import."""
    return ()


@hookspec
def obi_register_resolvers() -> Iterable[type[object]]:
    """Return the resolver classes of this plugin; each takes no argument and answers `Resolver.resolve`."""
    return ()


@hookspec
def obi_probe_changed(probe: str, state: ProbeState, reason: Reason, mode: str) -> None:
    """Take note that a probe changed its state. Called on the agent's thread; must not block.

    Args:
        probe: The probe's name.
        state: Its state from now on.
        reason: Why.
        mode: The mode it runs in, empty if none.
    """
