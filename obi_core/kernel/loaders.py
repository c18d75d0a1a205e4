"""The loader of a node: which of the two makes an object is decided by what its mode needs."""

from collections.abc import Mapping
from typing import Final

from obi_core.host import Host
from obi_core.kernel.base import BpfObject, Loader
from obi_core.model import LoadPlan, Mode

COMPILED_HERE: Final = "bcc"
"""The need of a mode whose programs are compiled on the node."""


class NodeLoader:
    """Implements `base.Loader`: BCC for modes that need it, libbpf for all others.

    Args:
        host: This machine.
        constants: Values for `OBI_SETTING` constants that objects may have.
    """

    def __init__(self, host: Host, constants: Mapping[str, int] | None = None) -> None:
        self._host, self._constants = host, dict(constants or {})

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> BpfObject:
        """Load the programs of `mode`; see `base.Loader.load`."""
        return self.loader_for(mode).load(package, stem, mode, plan)

    def loader_for(self, mode: Mode) -> Loader:
        """Make the loader that a mode needs."""
        if COMPILED_HERE in mode.needs:
            from obi_core.kernel.bcc import BccLoader  # neither is loaded where no probe asks for it

            return BccLoader(self._host, self._constants)
        from obi_core.kernel.libbpf import LibbpfLoader

        return LibbpfLoader(self._host, self._constants)
