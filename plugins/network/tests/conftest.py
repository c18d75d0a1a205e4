"""The network probe on this kernel, and private namespaces for it to count in."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from obi_core import Mode
from obi_core.testing.live import attached, this_host
from obi_core.testing.netns import PrivateNetwork, private_network
from obi_core.testing.plugin import version
from obi_plugin_network.probe import NetworkProbe
from obi_plugin_network.settings import NetworkSettings


def mode(name: str) -> Mode:
    """One of the probe's modes."""
    return next(each for each in NetworkProbe.modes if each.name == name)


@pytest.fixture
def start() -> Iterator[Callable[..., NetworkProbe]]:
    """Load and attach the probe at sockets, with settings given by name."""
    with ExitStack() as open_:
        yield lambda **settings: open_.enter_context(
            attached(NetworkProbe, NetworkSettings(**settings), mode("tc" if settings.get("interfaces") else "cgroup_skb"))
        )


@pytest.fixture
def veth() -> Iterator[PrivateNetwork]:
    """A namespace in which steps join another by a veth pair."""
    with private_network(Path(__file__).with_name("veth_steps.py")) as made:
        yield made


@pytest.fixture
def packets() -> Iterator[PrivateNetwork]:
    """A namespace with a loopback interface, for single packets and many connections."""
    with private_network(Path(__file__).with_name("packet_steps.py")) as made:
        yield made


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Make a process name that only this test run has."""
    return lambda name: f"{name}{os.getpid() % 100000}"


SYN_ACK = {"tx_packets": 1, "tx_bytes": 14 + 40 + 40}
"""Over IPv6, as a device counts it."""


@pytest.fixture
def at_sockets() -> Callable[[str, dict[str, int]], dict[str, int]]:
    """Make of what a server's device counted what passes at its socket.

    223f5f79f2ce ("bpf, net: Check skb ownership against full socket.", v6.5): before, the SYN-ACK of IPv6 does not.
    """
    passes = version(this_host().release()) >= (6, 5)
    return lambda kind, counts: (
        {name: count - (0 if passes or kind == "4" else SYN_ACK.get(name, 0)) for name, count in counts.items()}
    )
