"""The contract between the bus and whoever knows what an owner is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from obi_core.model import Owner


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of an owner, as attributes under their semantic-convention names."""

    attributes: Mapping[str, str | int]
    complete: bool = True
    """False: more may be known in a moment, so the bus waits a little before it binds."""


class Resolver(Protocol):
    """Says which process, container and pod an owner is. Called on the bus thread, once per key, never per observation."""

    def resolve(self, owner: Owner) -> Subject:
        """Describe `owner` from what is known now. Never blocks on the network, never raises."""
