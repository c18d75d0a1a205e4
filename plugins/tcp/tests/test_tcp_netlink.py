"""The tcp probe's mode without BPF: recorded files, arithmetic on known numbers, made-up processes and sockets."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from obi_core import HostError, Observation, Retired
from obi_plugin_tcp import catalogue
from obi_plugin_tcp.without_bpf import netlink, procfs
from obi_plugin_tcp.without_bpf.deductions import Connects, Retransmits
from obi_plugin_tcp.without_bpf.open_sockets import Limits, OpenSockets, _bucket
from obi_plugin_tcp.without_bpf.owners import Owners
from obi_plugin_tcp.without_bpf.totals import Totals

FIXTURES = Path(__file__).with_name("fixtures")
NONE = procfs.Counters(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def proc_with(tmp_path: Path, **changed: str) -> Path:
    (tmp_path / "net").mkdir()
    for name in ("snmp", "netstat"):
        (tmp_path / "net" / name).write_text(changed.get(name, (FIXTURES / name).read_text()))
    return tmp_path


# --- /proc --------------------------------------------------------------------------------------------------------------


def test_counters_are_read_by_name_from_recorded_files(tmp_path: Path) -> None:
    snmp = procfs.group((FIXTURES / "snmp").read_text(), "Tcp", "snmp")
    netstat = procfs.group((FIXTURES / "netstat").read_text(), "TcpExt", "netstat")

    read = procfs.read(proc_with(tmp_path))

    assert len(snmp) == 15
    assert snmp["MaxConn"] == -1
    assert read == procfs.Counters(
        snmp["ActiveOpens"],
        snmp["PassiveOpens"],
        snmp["AttemptFails"],
        netstat["EmbryonicRsts"],
        snmp["OutRsts"],
        snmp["RetransSegs"],
        netstat["TCPSynRetrans"],
        netstat["TCPFastRetrans"],
        netstat["TCPSlowStartRetrans"],
        netstat["TCPTimeouts"],
        netstat["TCPLossProbes"],
    )
    assert read.active_opens > read.passive_opens > read.resets_sent > read.retransmitted > 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "snmp: Tcp has 0 lines instead of one of names and one of numbers"),
        ("Tcp: ActiveOpens\n", "snmp: Tcp has 1 lines instead of one of names and one of numbers"),
        ("Tcp: ActiveOpens PassiveOpens\nTcp: 1\n", "snmp: Tcp has 2 names and 1 numbers"),
        ("Tcp: ActiveOpens\nTcp: many\n", "snmp: Tcp has something that is not a number"),
        ("Tcp: ActiveOpens\nTcp: 1\n", "snmp: Tcp has no PassiveOpens: this kernel does not count it"),
    ],
    ids=["empty", "names only", "too few numbers", "not a number", "a name is missing"],
)
def test_a_malformed_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(HostError, match=sentence):
        procfs.read(proc_with(tmp_path, snmp=text))


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"net/snmp cannot be read .*: the mode netlink needs it"):
        procfs.read(tmp_path)


# --- arithmetic ---------------------------------------------------------------------------------------------------------


def test_connects_are_what_was_begun_less_what_failed_and_what_is_still_open() -> None:
    connects = Connects(replace(NONE, active_opens=100, attempt_fails=10, passive_opens=7), 2)

    connects.take(replace(NONE, active_opens=140, attempt_fails=22, embryonic_resets=5, passive_opens=30), 6)

    # 40 begun, 4 more are open; of the 12 failures a server's half-open connections are 5
    assert (connects.succeeded, connects.failed, connects.accepted) == (29, 7, 23)


def test_a_total_of_connects_never_falls_and_catches_up() -> None:
    connects = Connects(NONE, 0)
    seen = []
    for active, failed in ((5, 0), (5, 1), (6, 1), (7, 1)):
        connects.take(replace(NONE, active_opens=active, attempt_fails=failed), 0)
        seen.append((connects.succeeded, connects.failed))

    assert seen == [(5, 0), (5, 1), (5, 1), (6, 1)]


@pytest.mark.parametrize(
    ("counted", "types"),
    [
        ({"retransmitted": 5, "syn": 5, "timeouts": 5}, {"syn": 5}),
        ({"retransmitted": 9, "fast": 4, "slow": 3, "timeouts": 2}, {"fast": 4, "timeout": 5}),
        ({"retransmitted": 4, "timeouts": 3, "probes": 1}, {"timeout": 3, "tail_loss_probe": 1}),
        ({"retransmitted": 3, "timeouts": 3, "probes": 2}, {"timeout": 3}),
        ({"retransmitted": 2, "timeouts": 0, "probes": 7}, {"tail_loss_probe": 2}),
        ({"retransmitted": 6, "syn": 4, "timeouts": 6}, {"syn": 4, "timeout": 2}),
        ({"retransmitted": 6, "syn": 4, "timeouts": 2, "probes": 2}, {"syn": 4, "_OTHER": 2}),
        ({"retransmitted": 3}, {"_OTHER": 3}),
    ],
    ids=[
        "syn timers are no timeouts of data",
        "slow start follows a timeout",
        "sum of causes fits",
        "a probe may have been a new segment",
        "no timer ran out",
        "timers beyond the syn",
        "timers may be those of the syn",
        "no cause",
    ],
)
def test_retransmits_go_to_a_type_as_far_as_the_counters_prove_it(counted: dict[str, int], types: dict[str, int]) -> None:
    retransmits = Retransmits(NONE)

    retransmits.take(
        replace(
            NONE,
            retransmitted=counted["retransmitted"],
            syn_retransmitted=counted.get("syn", 0),
            fast_retransmitted=counted.get("fast", 0),
            slow_start_retransmitted=counted.get("slow", 0),
            timeouts=counted.get("timeouts", 0),
            loss_probes=counted.get("probes", 0),
        )
    )

    assert +retransmits.by_type == types
    assert retransmits.by_type.total() == counted["retransmitted"]


def test_a_type_that_is_read_ahead_of_the_sum_waits_for_it() -> None:
    retransmits = Retransmits(NONE)

    retransmits.take(replace(NONE, retransmitted=1, fast_retransmitted=2))
    assert +retransmits.by_type == {"fast": 1}
    retransmits.take(replace(NONE, retransmitted=3, fast_retransmitted=3))
    assert +retransmits.by_type == {"fast": 3}


@pytest.mark.parametrize("us", [1, 2, 100, 977, 15625, 15626, 250_000, 1_000_000, 3_000_000])
def test_a_round_trip_time_is_above_the_lower_and_not_above_the_upper_bound_of_its_bucket(us: int) -> None:
    layout = catalogue.RTT.buckets
    assert layout is not None
    index = layout.first + _bucket(us)

    assert 2 ** (index / 2**layout.scale) < us / 1e6 <= 2 ** ((index + 1) / 2**layout.scale)


def test_round_trip_times_out_of_range_are_in_the_first_and_the_last_bucket() -> None:
    assert _bucket(4_000_000_000) == 95
    assert _bucket(1) == 0


def test_a_row_that_grew_longest_ago_makes_room_and_ends() -> None:
    totals = Totals(catalogue.IO, 2)
    for who in ("a", "b", "a", "c"):
        totals.add(None, {catalogue.DIRECTION: who}, (0, 5))

    first = list(totals.observations())
    second = list(totals.observations())

    assert [each.value for each in first if isinstance(each, Observation)] == [5, 10, 5]
    (gone,) = [each for each in first if isinstance(each, Retired)]
    (row_of_b, *rest) = [each.key for each in first if isinstance(each, Observation)]
    assert gone.key == row_of_b
    assert [each.key for each in second] == rest


# --- owners -------------------------------------------------------------------------------------------------------------


def make_process(proc: Path, pid: int, name: str, *inodes: int) -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) S 1 {' '.join(['0'] * 17)} 1234 0 0\n")
    for descriptor, inode in enumerate(inodes):
        (proc / str(pid) / "fd" / str(descriptor)).symlink_to(f"socket:[{inode}]")


def test_an_owner_is_read_from_proc_whatever_its_name(tmp_path: Path) -> None:
    make_process(tmp_path, 7, "a (b) c", 70, 71)
    (tmp_path / "8").mkdir()

    found, complete = Owners(tmp_path, ticks_per_s=100).find([70, 99])

    assert complete
    assert {inode: (who.tgid, who.start_ns, who.cgroup_id, who.comm) for inode, who in found.items()} == {
        70: (7, 12_340_000_000, 0, "a (b) c")
    }


def test_a_search_that_is_too_long_goes_on_next_time(tmp_path: Path) -> None:
    for pid in (7, 8, 9):
        make_process(tmp_path, pid, "p", pid * 10, pid * 10 + 1)
    owners = Owners(tmp_path, ticks_per_s=100, most=2)

    assert [owners.find([90]) for _ in range(2)] == [({}, False), ({}, False)]
    found, complete = owners.find([90])
    assert (list(found), complete) == ([90], True)


@pytest.mark.parametrize(
    ("mounts", "groups"),
    [
        ("cgroup2 {root} cgroup2 rw 0 0\n", "0::/pod\n"),
        ("cgroup {root} cgroup rw,relatime,memory 0 0\ncgroup2 /unified cgroup2 rw 0 0\n", "4:memory:/pod\n0::/\n"),
    ],
    ids=["v2", "v1 memory"],
)
def test_a_cgroup_id_is_the_inode_of_its_directory(tmp_path: Path, mounts: str, groups: str) -> None:
    (tmp_path / "cgroups/pod").mkdir(parents=True)
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mounts").write_text(mounts.format(root=tmp_path / "cgroups"))
    make_process(tmp_path, 7, "p", 70)
    (tmp_path / "7/cgroup").write_text(groups)

    owners = Owners(tmp_path)
    found, _ = owners.find([70])

    assert found[70].cgroup_id == (tmp_path / "cgroups/pod").stat().st_ino
    assert owners.v2 == mounts.startswith("cgroup2")


# --- sockets ------------------------------------------------------------------------------------------------------------


def a_socket(cookie: int, **changed: int) -> netlink.Socket:
    here = bytes(10) + b"\xff\xff\x7f\0\0\1"
    made = netlink.Socket(cookie, socket.AF_INET, 1, here, 1000, here, 80, 0, 0, 0, 0, 0, 0, 0, 0)
    return made._replace(**changed)


def test_sockets_beyond_the_limit_are_counted_as_lost_once(tmp_path: Path) -> None:
    known = OpenSockets(Owners(tmp_path), Limits(2, 10, 10), by_port=False)

    lost = []
    for count in (3, 3, 5, 2, 3):
        known.look([], [a_socket(cookie, state=4) for cookie in range(count)])
        lost += [each.count for each in known.observations() if type(each).__name__ == "Loss"]

    assert lost == [1, 1, 3, 3, 4]


def test_a_container_stands_for_a_process_that_cannot_be_seen(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mounts").write_text("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
    known = OpenSockets(Owners(tmp_path), Limits(9, 9, 9), by_port=False)
    known.look([], [])

    known.look([], [a_socket(1, inode=5, cgroup_id=77, sent=3)])

    (sent,) = [each for each in known.observations() if isinstance(each, Observation)]
    assert sent.value == 3
    assert sent.owner is not None
    assert (sent.owner.tgid, sent.owner.cgroup_id, sent.owner.comm) == (0, 77, "")
