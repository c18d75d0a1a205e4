"""The scripts of tests/obi against a real agent and the stores that it exports to, once for all tests."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from proving import delete, fetch, running, victoria


@pytest.fixture(scope="session")
def live(victoria_program, tmp_path_factory):
    with running(victoria_program, tmp_path_factory.mktemp("live"), "-opentelemetry.usePrometheusNaming") as everything:
        yield everything


@pytest.fixture(scope="session")
def kept(live, victoria_program, tmp_path_factory):
    """A copy of what the live store of metrics has, in stores of their own: each may lose something."""
    fetch(f"{live.victoria}/internal/force_flush")
    name = json.loads(fetch(f"{live.victoria}/snapshot/create"))["snapshot"]
    folder = tmp_path_factory.mktemp("kept")
    made = []

    @contextmanager
    def store(without=""):
        data = folder / f"data{len(made)}"
        made.append(data)
        copytree(live.data / "snapshots" / name, data)  # its links become what they stand for
        with victoria(victoria_program, data, folder / "log") as url:
            if without:
                delete(url, without)
            yield url

    return store
