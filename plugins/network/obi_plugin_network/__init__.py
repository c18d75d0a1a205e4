"""Packets, conversations, connections, drops and DNS, by process: the hook, and nothing else."""

from obi_core import Probe, hookimpl


@hookimpl
def obi_register_probes() -> tuple[type[Probe], ...]:
    """Announce the probe."""
    from obi_plugin_network.probe import NetworkProbe  # importing the plugin must cost nothing

    return (NetworkProbe,)
