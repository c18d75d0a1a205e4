"""The core's resolver and the plugins', asked as one: what several know of an owner is put together."""

import logging
from collections.abc import Iterable
from typing import Final

from obi_core.model import Owner
from obi_core.resolver import Resolver, Subject
from obi_core.runtime.registry import ISOLATED

_log: Final = logging.getLogger("obi.identity")


class Resolvers:
    """Asks every resolver; where two name one attribute, the later one wins. A plugin's that raises is asked no more."""

    def __init__(self, core: Resolver, plugins: Iterable[type[object]]) -> None:
        self._core = core
        self._others: list[Resolver] = []
        for made in plugins:
            try:
                self._others.append(made())  # type: ignore[arg-type]  # the hook says that it answers `resolve`
            except ISOLATED:  # a stranger's constructor
                _log.exception("resolver %s cannot be made; the agent goes on without it", made.__name__)

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
                subject = Subject({**subject.attributes, **more.attributes}, subject.complete and more.complete)
        return subject
