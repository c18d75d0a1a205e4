"""System calls, by process and container: the hook, and nothing else."""

from obi_core import Probe, hookimpl


@hookimpl
def obi_register_probes() -> tuple[type[Probe], ...]:
    """Announce the probe."""
    from obi_plugin_syscall.probe import SyscallProbe  # importing the plugin must cost nothing

    return (SyscallProbe,)
