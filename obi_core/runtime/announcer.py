"""Tells everybody where the probes stand, once it is clear that at least one of them can run."""

from collections.abc import Iterable

import pluggy

from obi_core.model import ProbeState
from obi_core.runtime.changes import tell
from obi_core.runtime.diary import Diary
from obi_core.runtime.status import Status


class Announcer:
    """Log, plugins' hooks and diary. On the agent's thread.

    Until one probe is past its start, refusals are held back: if none can run, one line says so for all.

    Args:
        manager: The plugins of the configuration in force; replaced when that is.
        diary: Makes log events and spans of it.
    """

    def __init__(self, manager: pluggy.PluginManager, diary: Diary) -> None:
        self.manager, self._diary = manager, diary
        self.begun = False
        """Whether one probe is past its start."""
        self._held: list[Status] = []

    def hold(self, statuses: Iterable[Status]) -> None:
        """Keep what is to be told later."""
        self._held += statuses

    def note(self, status: Status) -> None:
        """Tell a new status, or hold it back."""
        if self.begun or status.state is not ProbeState.UNSUPPORTED:
            self._tell(status)
        else:
            self._held.append(status)

    def begin(self) -> None:
        """Tell what was held back, and everything at once from now on."""
        self.begun = True
        held, self._held = self._held, []
        for status in held:
            self._tell(status)

    def _tell(self, status: Status) -> None:
        tell(self.manager, status)
        self._diary.changed(status)
