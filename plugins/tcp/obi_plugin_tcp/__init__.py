"""TCP connections, by process: the hook, and nothing else."""

from obi_core import Probe, hookimpl


@hookimpl
def obi_register_probes() -> tuple[type[Probe], ...]:
    """Announce the probe."""
    from obi_plugin_tcp.probe import TcpProbe  # importing the plugin must cost nothing

    return (TcpProbe,)
