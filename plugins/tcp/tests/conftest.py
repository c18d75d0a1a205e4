"""A private network namespace in which the tcp workload runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from obi_core.testing.netns import PrivateNetwork, private_network


@pytest.fixture
def network() -> Iterator[PrivateNetwork]:
    with private_network(Path(__file__).with_name("workload.py")) as made:
        yield made
