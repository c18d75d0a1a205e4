# ruff: noqa: D102 - test names are sentences
"""The account of a probe that keeps one: everything that its programs saw has one outcome."""

import threading
from collections.abc import Iterable, Mapping
from typing import Final

from obi_core.host import Host
from obi_core.model import Account, Mode, Yielded
from obi_core.testing.suite.lives import Lives

_TRIES: Final = 60
_PAUSE_S: Final = 0.02


class Balance(Lives):
    """Seen is exported, filtered, sampled out or lost."""

    def test_on_this_kernel_everything_that_was_seen_is_accounted_for(self, real_mode: Mode) -> None:
        host = Host()
        with self.stage() as stage:
            probe = self.probe(self.settings())
            try:
                self.started(stage, probe, self.loader(host), host, real_mode)
                before = outcomes(self.gather(stage, probe))
                self.provoke()
                after = outcomes(self.gather(stage, probe))
                # The cells of several CPUs are read one after the other, while the machine goes on.
                for _ in range(_TRIES):
                    if not missing(after):
                        break
                    threading.Event().wait(_PAUSE_S)
                    after = outcomes(self.gather(stage, probe))
            finally:
                self.ended(stage, probe)
        assert not missing(after), (
            f"mode {real_mode.name} saw {after['seen']}, and {missing(after)} of it have no outcome: {after}"
        )
        for outcome, count in before.items():
            assert after[outcome] >= count, f"mode {real_mode.name}: {outcome} fell from {count} to {after[outcome]}"


def outcomes(batch: Iterable[Yielded]) -> Mapping[str, int]:
    """Read the account in one collection; empty if the probe keeps none."""
    return {item.outcome: item.count for item in batch if isinstance(item, Account)}


def missing(account: Mapping[str, int]) -> int:
    """How many things were seen and have no outcome."""
    return account.get("seen", 0) - sum(count for outcome, count in account.items() if outcome != "seen")
