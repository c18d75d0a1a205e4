"""The contract between the bus and whoever knows what an owner is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from obi_core.model import Owner


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of an owner, as attributes under their semantic-convention names."""

    attributes: Mapping[str, str | int]
    complete: bool = True
    """False: more may be known in a moment, so the bus waits a little before it binds."""
    missing: str = ""
    """What is not known yet: one word, such as `cgroup`, `pod` or `container`."""

    def joined(self, other: "Subject") -> "Subject":
        """What both say; the other's word wins."""
        complete = self.complete and other.complete
        return Subject({**self.attributes, **other.attributes}, complete, self.missing or other.missing)


class Resolver(Protocol):
    """Says which process, container and pod an owner is. Called on the bus thread, once per key, never per observation."""

    def resolve(self, owner: Owner) -> Subject:
        """Describe `owner` from what is known now. Never blocks on the network, never raises."""


@runtime_checkable
class Describer(Protocol):
    """A resolver that knows more of a process than metrics can carry: for spans and log events."""

    def details(self, owner: Owner) -> Mapping[str, str | int]:
        """Say what one process was: its id, its command line. Called on the bus thread; never blocks, never raises."""

    def peer(self, address: str) -> Mapping[str, str]:
        """Say whose an address is, as attributes; empty: not known. Called on the bus thread; never blocks, never raises."""
