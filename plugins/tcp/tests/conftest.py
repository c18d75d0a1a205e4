"""A private network namespace in which the tcp workload runs, and the probe in each of its BPF modes."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from obi_core import Mode
from obi_core.testing.live import attached
from obi_core.testing.modes import in_modes_with_bpf
from obi_core.testing.netns import PrivateNetwork, private_network
from obi_plugin_tcp.probe import TcpProbe
from obi_plugin_tcp.settings import TcpSettings


@pytest.fixture
def network() -> Iterator[PrivateNetwork]:
    with private_network(Path(__file__).with_name("workload.py")) as made:
        yield made


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    in_modes_with_bpf(metafunc, TcpProbe)


@pytest.fixture
def start(mode: Mode) -> Iterator[Callable[..., TcpProbe]]:
    """Load and attach the probe, with settings given by name."""
    with ExitStack() as open_:
        yield lambda **settings: open_.enter_context(attached(TcpProbe, TcpSettings(**settings), mode))


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Make a process name that only this test run has."""
    return lambda name: f"{name}{os.getpid() % 100000}"
