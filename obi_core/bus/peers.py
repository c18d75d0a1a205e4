"""Whose the addresses are that an observation or an event names: `X.address` brings `X.k8s.pod.name` and its like."""

from collections.abc import Mapping
from typing import Final, TypeVar

from obi_core.resolver import Describer, Resolver

_ADDRESSES: Final = ("network.peer.address", "source.address", "destination.address")
_Value = TypeVar("_Value", str | int, str | int | float)


def describer_of(resolver: Resolver) -> Describer | None:
    """Give the resolver, if it knows more than subjects."""
    return resolver if isinstance(resolver, Describer) else None


def peers(describer: Describer | None, attributes: Mapping[str, _Value]) -> dict[str, str]:
    """Say whose the addresses among `attributes` are, from what is known now; empty: none is known."""
    if describer is None:
        return {}
    found: dict[str, str] = {}
    for name in _ADDRESSES:
        if name in attributes:
            prefix = name.removesuffix("address")
            found |= {f"{prefix}{what}": text for what, text in describer.peer(str(attributes[name])).items()}
    return found
