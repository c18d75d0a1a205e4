"""Command lines as the kernel notes them: of processes that are gone, with the id that they had in their own namespace."""

import os
import subprocess
import time

import pytest

from obi_core.host import Host
from obi_core.identity import Tracking
from obi_core.model import Owner
from obi_core.runtime.fleet import node_loader
from obi_core.settings import IdentitySettings

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "root"))


class Steps:
    """A clock that moves on at each look, so that each miss reads the map."""

    now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@pytest.fixture
def noted():
    made = []

    def begin(**settings):
        tracking = Tracking(IdentitySettings(**settings), Steps())
        made.append(tracking)
        tracking.open(node_loader(Host()), Host())
        assert tracking.lost == {}
        return tracking

    yield begin
    for tracking in made:
        tracking.close()


def owners(tracking, marker):
    """Processes that the kernel has noted with an argument of this test's."""
    return [
        Owner(key.tgid, key.start_ns, 1, "")
        for key, value in tracking._bpf.rows("identity_execs")
        if marker in bytes(value.args)
    ]


def test_a_process_that_is_gone_has_its_command_line_redacted_and_its_namespace_s_id(noted):
    tracking = noted(command_lines=True)
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    command = ["unshare", "--pid", "--fork", "/bin/sleep", "0", f"--password={marker}"]
    # sleep refuses the option, after its exec
    subprocess.run(command, check=False, capture_output=True, timeout=20)
    found = {(each.path, each.vpid, each.command_line) for each in map(tracking.execution, owners(tracking, marker.encode()))}
    assert ("/bin/sleep", 1, "/bin/sleep 0 --password=[redacted]") in found
    assert not any(marker in line for _, _, line in found)


def test_without_being_asked_for_no_command_line_leaves_its_process(noted):
    tracking = noted()
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    subprocess.run(["/bin/true", marker], check=True, timeout=20)
    assert owners(tracking, marker.encode()) == []
