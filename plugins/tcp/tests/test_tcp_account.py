"""What the tcp probe saw, and what became of it: the account balances, also when nothing fits any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from obi_core import Account, Cgroups, Observation
from obi_core.testing.live import row_ages
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))

NAMES = """
import socket, sys
prefix, count = sys.argv[1], int(sys.argv[2])
with socket.create_server(("127.0.0.1", 0)) as server:
    for number in range(count):
        with open("/proc/self/comm", "w") as comm:
            comm.write(f"{prefix}{number:03}")
        with socket.create_connection(server.getsockname()):
            server.accept()[0].close()
"""
"""One connection under each of so many process names, both ends in it."""


def account(seen):
    return {each.outcome: each.count for each in seen.yielded if isinstance(each, Account)}


def connects(seen, prefix):
    points = (each for each in seen.yielded if isinstance(each, Observation) and each.instrument.name == "obi.tcp.connects")
    return sum(each.value for each in points if each.owner and each.owner.comm.startswith(prefix))


def test_under_a_full_map_what_is_counted_and_what_is_lost_are_all_that_was_seen(start, unique):
    probe, prefix = start(max_rows=64, max_histograms=16), unique("tf")
    subprocess.run([sys.executable, "-c", NAMES, prefix, "100"], check=True, timeout=20)

    seen = Seen.of(probe)
    became = account(seen)

    assert became["seen"] == became["exported"] + became["filtered"] + became["sampled_out"] + became["lost"]
    assert became["lost"] == seen.losses()["rows_full"] + seen.losses()["sockets_full"]
    kept = connects(seen, prefix)
    assert 0 < kept <= 64, "one row for each name and end"
    # Of 200 connects, 200 handshakes and 200 lifetimes at most 64, 16 and 16 rows hold one each.
    assert became["lost"] >= 600 - 64 - 16 - 16


def test_a_round_trip_time_that_is_left_out_is_accounted_for(start, network, unique):
    probe = start(rtt_every=1_000_000)
    step = network.start("ping-pong", unique("obiacct"), 500, 100)
    step.line()
    step.go_on()
    assert step.line() == "sent"
    became = account(Seen.of(probe))
    step.go_on()
    step.finish()

    assert became["sampled_out"] >= 500
    assert became["seen"] == became["exported"] + became["filtered"] + became["sampled_out"] + became["lost"]


def test_rows_of_a_cgroup_that_has_ended_leave_the_kernel_with_their_last_values(start, unique):
    probe, prefix = start(), unique("tg")
    root = Cgroups().identifying()
    assert root is not None
    group = root / f"obi-test-ended-{os.getpid()}"
    group.mkdir()
    try:
        probe.ages = row_ages(look_every_s=0.0)
        into = ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]
        subprocess.run([*into, sys.executable, "-c", NAMES, prefix, "3"], check=True, timeout=20)
        alive = Seen.of(probe)
    finally:
        group.rmdir()
    once, twice = Seen.of(probe), Seen.of(probe)
    ended = {each.key for each in probe.ages.retired()}
    afterwards = Seen.of(probe)

    assert connects(alive, prefix) == connects(once, prefix) == connects(twice, prefix) == 6
    mine = {
        each.key
        for each in twice.yielded
        if isinstance(each, Observation) and each.owner and each.owner.comm.startswith(prefix)
    }
    assert mine, "rows of every kind"
    assert mine <= ended
    assert connects(afterwards, prefix) == 0
    assert not Path(group).exists()
