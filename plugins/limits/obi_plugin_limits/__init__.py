"""What ran into a limit, or is about to: the hook, and nothing else."""

from obi_core import Probe, hookimpl


@hookimpl
def obi_register_probes() -> tuple[type[Probe], ...]:
    """Announce the probe."""
    from obi_plugin_limits.probe import LimitsProbe  # importing the plugin must cost nothing

    return (LimitsProbe,)
