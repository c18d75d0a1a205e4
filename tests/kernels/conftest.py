"""The lane: a fixture that runs the plugins' kernel tests on another kernel, once per kernel and session."""

import os
import sys
from pathlib import Path

import pytest

from obi_core.testing import plugin

sys.path.insert(0, str(Path(__file__).parent))

import guests

_summaries = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def boot(tmp_path_factory, pytestconfig):
    """Call it with a `Kernel`."""
    outcomes = {}

    def boot(kernel):
        if plugin.policy() == "off":
            # Asked for by name; continuous integration asks for `require`.
            pytest.skip("kernel tests are off (OBI_KERNEL=off)")
        if kernel not in outcomes:
            full = os.environ.get("OBI_GUEST") == "full"
            try:
                outcomes[kernel] = guests.boot(
                    kernel,
                    tmp_path_factory.mktemp("guest"),
                    guests.ALL if full else guests.QUICK,
                    doctor="yes" if full else "no",
                )
            except guests.LackError as lack:
                if plugin.policy() == "require":
                    pytest.fail(f"{lack} (OBI_KERNEL=require)", pytrace=False)
                # Not under `require`, see above: a stranger's machine, told what is missing.
                pytest.skip(str(lack))
            pytestconfig.stash[_summaries].append(_line(kernel, outcomes[kernel]))
        return outcomes[kernel]

    return boot


def pytest_configure(config):
    config.stash[_summaries] = []


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(_summaries, ()):
        terminalreporter.write_line(line)


def _line(kernel, outcome):
    counts = {"passed": outcome.passed, "failed": outcome.failed, "skipped": outcome.skipped}
    told = ", ".join(f"{len(tests)} {word}" for word, tests in counts.items() if tests) or "no result came back"
    return f"vm {outcome.release or kernel.series}: {told}"
