"""The core's resolver and the plugins', asked as one: what several know of an owner is put together."""

import logging
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from obi_core.model import Owner
from obi_core.resolver import Describer, Resolver, Subject
from obi_core.runtime.registry import ISOLATED

_log: Final = logging.getLogger("obi.identity")


class Core(Resolver, Describer, Protocol):
    """The core's own resolver."""


class Resolvers:
    """Asks every resolver; where two name one attribute, the later one wins. A plugin's that raises is asked no more."""

    def __init__(self, core: Core, plugins: Iterable[type[object]]) -> None:
        self._core = core
        self._others: list[Resolver] = []
        self._made: dict[type[object], Resolver] = {}
        self.follow(core, plugins)

    def follow(self, core: Core, plugins: Iterable[type[object]]) -> None:
        """Ask these from now on; of a plugin that was asked before the same object."""
        kept = self._made
        self._made = {}
        for announced in plugins:
            try:
                made = kept.get(announced) or announced()
                self._made[announced] = made  # type: ignore[assignment]  # the hook says that it answers `resolve`
            except ISOLATED:  # a stranger's constructor
                _log.exception("resolver %s cannot be made; the agent goes on without it", announced.__name__)
        self._core, self._others = core, list(self._made.values())

    def details(self, owner: Owner) -> Mapping[str, str | int]:
        """What the core knows of the process beyond its subject; see `Describer`."""
        return self._core.details(owner)

    def peer(self, address: str) -> Mapping[str, str]:
        """Whose an address is, as the core knows it; see `Describer`."""
        return self._core.peer(address)

    def resolve(self, owner: Owner) -> Subject:
        """Describe `owner` from what all know now."""
        subject = self._core.resolve(owner)
        for other in tuple(self._others):
            try:
                more = other.resolve(owner)
            except ISOLATED:  # a stranger's code on the bus thread
                _log.exception("resolver %s raised; the agent goes on without it", type(other).__name__)
                self._others.remove(other)
            else:
                subject = subject.joined(more)
        return subject
