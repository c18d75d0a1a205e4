"""The loader as a probe is handed it: it loads and attaches what the probe's mode declares, and nothing else."""

from collections.abc import Iterable
from typing import NoReturn

from obi_core.kernel.base import BpfObject, Loader
from obi_core.model import LoadPlan, Mode
from obi_core.runtime.declared import UndeclaredError
from obi_core.runtime.strangers import shown


class Guard:
    """Implements `Loader` for one probe in one mode.

    Args:
        loader: Does the work.
        mode: The mode that the agent asked for.
    """

    def __init__(self, loader: Loader, mode: Mode) -> None:
        self._loader, self._mode = loader, mode
        self._declared = frozenset(program.name for program in mode.programs)
        self._loaded: list[BpfObject] = []
        self._fault = ""

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> BpfObject:
        """Load programs of the mode, all or some; see `base.Loader.load`.

        Raises:
            UndeclaredError: The probe asks for a program that its mode does not declare; nothing is loaded.
        """
        if not isinstance(mode, Mode):
            self._refuse(f"asked to load {shown(mode)}, which is not a mode")
        self._check("load", (program.name for program in mode.programs))
        loaded = self._loader.load(package, stem, mode, plan)
        self._loaded.append(loaded)
        return loaded

    def check(self) -> None:
        """Look at what is attached, after the probe's attach.

        Raises:
            UndeclaredError: It is more than the mode declares, or the probe asked for more and went on without.
        """
        if self._fault:
            raise UndeclaredError(self._fault)
        for loaded in self._loaded:
            self._check("attach", loaded.attached)

    def _check(self, what: str, programs: Iterable[str]) -> None:
        if surplus := sorted(set(programs) - self._declared):
            self._refuse(f"mode {self._mode.name} does not declare {', '.join(surplus)}, which the probe asked to {what}")

    def _refuse(self, sentence: str) -> NoReturn:
        self._fault = sentence
        raise UndeclaredError(sentence)
