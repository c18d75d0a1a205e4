"""Readers of the limits probe, fed with rows as the kernel lays them out, and with text as its files have it."""

from dataclasses import dataclass, field

import pytest

from obi_core import Loss, Owner
from obi_plugin_limits import catalogue, readers, records
from obi_plugin_limits.files import parse
from obi_plugin_limits.kernel_text import KernelText


@dataclass
class OwnerRecord:
    cgroup_id: int = 7
    start_ns: int = 5
    tgid: int = 42
    comm: bytes = b"java"


NOBODY = OwnerRecord(0, 0, 0, b"")


@dataclass
class Key:
    owner: OwnerRecord = field(default_factory=OwnerRecord)
    error: int = 24
    resource: int = 0
    sender: bytes = b""
    signal: int = 9
    raw: bytes = b"row"

    def __bytes__(self) -> bytes:
        return self.raw


@dataclass
class Oom:
    victim: OwnerRecord = field(default_factory=OwnerRecord)
    requester: OwnerRecord = field(default_factory=lambda: OwnerRecord(tgid=43, comm=b"curl"))
    time_ns: int = 1_000
    anon_pages: int = 100
    file_pages: int = 10
    shmem_pages: int = 1
    limited_id: int = 3
    limit_pages: int = 256
    pid: int = 42
    stack_bytes: int = 16
    stack: tuple[int, ...] = (0x110, 0x210, 0x310)


@dataclass
class Signal:
    target: OwnerRecord = field(default_factory=OwnerRecord)
    sender: OwnerRecord = field(default_factory=lambda: OwnerRecord(tgid=1, comm=b"systemd"))
    time_ns: int = 1_000
    signal: int = 15
    code: int = 0


def node(scope="cgroup", path="/a"):
    return records.Node(4096, 1 << 30, 500, lambda number: path if number else "", lambda _: scope)


@pytest.mark.parametrize(
    ("resource", "error", "attributes"),
    [
        (0, 24, ("file_descriptors", "EMFILE")),
        (0, 23, ("file_descriptors", "ENFILE")),
        (1, 11, ("processes", "EAGAIN")),
        (2, 12, ("memory", "ENOMEM")),
        (3, 99, ("ports", "EADDRNOTAVAIL")),
        (4, 28, ("storage", "ENOSPC")),
        (5, 28, ("watches", "ENOSPC")),
        (99, 24, ("_OTHER", "EMFILE")),
    ],
)
def test_a_failure_says_what_was_used_up_and_the_error(resource, error, attributes):
    (seen,) = readers.failures([(Key(resource=resource, error=error), 5)])

    assert (seen.value, seen.key) == (5, ("limits_exhaustion", b"row"))
    assert seen.owner == Owner(42, 5, 7, "java")
    assert (seen.attributes[catalogue.RESOURCE], seen.attributes[catalogue.ERROR]) == attributes


@pytest.mark.parametrize(
    ("sender", "number", "attributes"),
    [(b"kill", 9, ("SIGKILL", "kill")), (b"", 11, ("SIGSEGV", "kernel")), (b"x", 200, ("_OTHER", "x"))],
)
def test_a_signal_says_its_name_and_its_sender(sender, number, attributes):
    (seen,) = readers.signals([(Key(sender=sender, signal=number), 3)])

    assert tuple(seen.attributes.values()) == attributes


def test_losses_have_names_and_one_that_is_new_is_other():
    assert list(readers.losses([(0, 1), (1, 2), (2, 3), (9, 4)])) == [
        Loss("rows_full", 1),
        Loss("events_full", 2),
        Loss("events_limited", 3),
        Loss("_OTHER", 4),
    ]


def test_an_oom_kill_in_a_cgroup_says_all_of_it():
    (event,) = records.kills([Oom()], node())

    assert (event.name, event.time_ns, event.owner) == ("obi.limits.oom_kill", 1_500, Owner(42, 5, 7, "java"))
    assert event.body == (
        "java (pid 42) was killed with 444 kB resident: memory cgroup /a was out of memory when curl (pid 43) asked for more"
    )
    assert event.attributes == {
        "process.pid": 42,
        "process.executable.name": "java",
        "process.linux.cgroup": "/a",
        "obi.limits.oom.scope": "cgroup",
        "obi.limits.oom.scope.source": "stack",
        "obi.limits.oom.requester.pid": 43,
        "obi.limits.oom.requester.name": "curl",
        "obi.limits.oom.rss": 111 * 4096,
        "obi.limits.oom.limit": 256 * 4096,
        "obi.limits.oom.limited_cgroup": "/a",
    }


def test_where_the_stack_tells_nothing_the_scope_is_deduced_and_says_so():
    full, none_full = records.kills([Oom(), Oom(limit_pages=0, limited_id=0)], node(scope=""))

    assert [event.attributes["obi.limits.oom.scope"] for event in (full, none_full)] == ["cgroup", "system"]
    assert {event.attributes["obi.limits.oom.scope.source"] for event in (full, none_full)} == {"usage"}
    assert none_full.attributes["obi.limits.oom.limit"] == 1 << 30
    assert "the whole system was out of memory" in none_full.body


def test_a_system_kill_of_a_victim_below_a_full_cgroup_is_the_systems():
    (event,) = records.kills([Oom()], node(scope="system"))

    assert (event.attributes["obi.limits.oom.scope"], event.attributes["obi.limits.oom.limit"]) == ("system", 1 << 30)


def test_only_the_frames_that_the_kernel_wrote_are_asked_for():
    asked = []
    list(records.kills([Oom(), Oom(stack_bytes=-14)], records.Node(4096, 0, 0, str, lambda stack: asked.append(stack) or "")))

    assert asked == [(0x110, 0x210), ()]


def test_a_signal_from_a_process_and_from_the_kernel():
    by_process, by_kernel = records.signals([Signal(), Signal(sender=NOBODY, signal=11, code=1)], 500)

    assert by_process.body == "SIGTERM from systemd (pid 1) to java (pid 42)"
    assert by_process.attributes["process.signal.sender.pid"] == 1
    assert by_kernel.body == "SIGSEGV from kernel to java (pid 42)"
    assert "process.signal.sender.pid" not in by_kernel.attributes


@pytest.mark.parametrize(
    ("stack", "scope"),
    [
        ((0x150, 0x250, 0x350), "cgroup"),
        ((0x150, 0x950), "system"),
        ((0x450,), "cgroup"),
        ((0x950,), ""),
        ((), ""),
    ],
    ids=["memory controller", "page allocator", "a part of it", "elsewhere", "no frames"],
)
def test_the_stack_says_who_called_the_oom_killer(tmp_path, stack, scope):
    (tmp_path / "kallsyms").write_text(
        "0000000000000100 T out_of_memory\n0000000000000200 t mem_cgroup_out_of_memory\n0000000000000300 t other\n"
        "0000000000000400 t mem_cgroup_out_of_memory.cold\n0000000000000500 t other.cold\n0000000000000900 T do_fault\n"
    )
    assert KernelText(tmp_path).oom_scope(stack) == scope


@pytest.mark.parametrize("text", [None, "", "0000000000000000 T out_of_memory\n0000000000000000 t mem_cgroup_out_of_memory\n"])
def test_a_kernel_that_hides_its_addresses_tells_nothing(tmp_path, text):
    if text is not None:
        (tmp_path / "kallsyms").write_text(text)
    assert KernelText(tmp_path).oom_scope((0x150,)) == ""


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("max\n", None),
        ("-1\n", None),
        ("9223372036854771712\n", None),
        ("9223372036854710272\n", None),
        ("4096\n", 4096),
        ("0", 0),
    ],
    ids=["v2", "no quota", "v1", "v1 with 64 kB pages", "a limit", "nothing"],
)
def test_no_limit_has_many_names(text, limit):
    assert parse.limit(text) == limit


@pytest.mark.parametrize(("text", "cpus"), [("max 100000", None), ("50000 100000", 0.5), ("300000 100000", 3.0)])
def test_a_quota_is_a_number_of_cpus(text, cpus):
    assert parse.quota(text) == cpus


def test_pressure_is_seconds_in_all():
    assert parse.pressure(
        "some avg10=0.00 avg60=0.12 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    ) == {"some": 1.5, "full": 7e-6}


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (parse.number, ""),
        (parse.number, "minus one"),
        (parse.number, "-3"),
        (parse.number, "\u0661"),
        (parse.limit, "a lot"),
        (parse.keyed, "low 0\nhigh\n"),
        (parse.keyed, "\0\0\0\0"),
        (parse.quota, "100000"),
        (parse.quota, "5 0"),
        (parse.pressure, "some avg10=0.00"),
        (parse.pressure, "half total=3"),
        (lambda text: parse.numbers(text, 3), "1 2"),
    ],
)
def test_garbage_is_an_error_that_shows_it(reader, text):
    with pytest.raises(ValueError, match=r"should be|a period of nothing"):
        reader(text)
