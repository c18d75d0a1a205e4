"""Load, attach, read and give back, on the real kernel: exact numbers for the calls of this process."""

import contextlib
import ctypes
import errno
import importlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from obi_core import hatch
from obi_core.errors import AttachError, KernelError, LoadError
from obi_core.host import Host
from obi_core.kernel.lib import libbpf, libbpf_version
from obi_core.kernel.libbpf import LibbpfLoader
from obi_core.kernel.links import Hooks
from obi_core.kernel.trial import reason_of
from obi_core.model import LoadPlan, Mode, Program, Reason
from obi_core.testing.suite.failures import lacking

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "cmd:clang"))

GETPPID = {"x86_64": 110, "aarch64": 173}[platform.machine()]
FIXTURES = Path(__file__).parents[1] / "fixtures" / "binding"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    made = folder / "obi_binding_fixture"
    made.mkdir()
    (made / "__init__.py").touch()
    shutil.copy(FIXTURES / "binding.bpf.c", made)
    hatch.build([made])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield "obi_binding_fixture"


@pytest.fixture
def load(package):
    """Load programs of the fixture by name; a name with a question mark may be lost."""
    with contextlib.ExitStack() as opened:

        def go(*names, constants=(), entries=(), live=(), host=None):
            programs = tuple(Program(name.rstrip("?"), ("something",) if name.endswith("?") else ()) for name in names)
            plan = LoadPlan({"bind_tgid": os.getpid(), "bind_call": GETPPID, **dict(constants)}, dict(live), dict(entries))
            loader = LibbpfLoader(host or Host(), {"obi_cgroup_v1": 0, "in_no_object": 1})
            return opened.enter_context(loader.load(package, "binding", Mode("test", programs), plan))

        yield go


def call(times):
    for _ in range(times):
        os.getppid()


def numbers(bpf):
    return dict(bpf.rows("bind_numbers"))


def test_every_call_of_this_process_is_counted_once_under_the_number_that_the_live_setting_says(load):
    bpf = load("bind_tp_btf", live={"bind_live": 5})
    bpf.attach("bind_tp_btf")
    call(23)
    bpf.tune("bind_live", 6)
    call(7)
    bpf.detach("bind_tp_btf")
    call(3)
    assert numbers(bpf) == {5: 23, 6: 7}
    assert [
        (key.number, key.port, key.kind, count) for key, count in sorted(bpf.rows("bind_structs"), key=lambda row: row[1])
    ] == [
        (6, 443, 3, 7),
        (5, 443, 3, 23),
    ]


def test_a_struct_key_gives_the_raw_key(load):
    bpf = load("bind_tp_btf", live={"bind_live": 5})
    bpf.attach("bind_tp_btf")
    call(1)
    [(key, _)] = bpf.rows("bind_structs")
    raw = (1).to_bytes(8, "little") + (5).to_bytes(4, "little") + (443).to_bytes(2, "little") + bytes(16) + b"\3\0"
    assert bytes(key) == raw


def test_per_cpu_values_are_summed_whichever_cpu_counted(load):
    bpf = load("bind_tp_btf", live={"bind_live": 1})
    bpf.attach("bind_tp_btf")
    allowed = os.sched_getaffinity(0)
    for cpu, times in zip(sorted(allowed), (11, 13), strict=False):
        os.sched_setaffinity(0, {cpu})
        call(times)
    os.sched_setaffinity(0, allowed)
    bpf.detach("bind_tp_btf")
    total = sum((11, 13)[: len(allowed)])
    [(key, value)] = bpf.rows("bind_percpu")
    # The first call on a CPU of a fresh row counts 1, 1-2-3 and -1, like every other.
    assert (key, value.count, list(value.slots), value.below) == (1, total, [total, 2 * total, 3 * total], -total)
    assert dict(bpf.rows("bind_percpu_array")) == {0: 0, 1: total, 2: 0, 3: 0}


def test_a_ring_buffer_gives_each_record_once_in_order(load):
    bpf = load("bind_tp_btf", live={"bind_live": 9})
    bpf.attach("bind_tp_btf")
    assert list(bpf.drain("bind_ring")) == []
    call(17)
    comm = Path("/proc/self/comm").read_bytes().rstrip(b"\n")
    assert [(each.argument, each.tgid, each.comm) for each in bpf.drain("bind_ring")] == [(9, os.getpid(), comm)] * 17
    assert list(bpf.drain("bind_ring")) == []


def test_a_record_of_another_size_than_its_type_is_counted_as_lost_and_does_not_stop_the_rest(load):
    bpf = load("bind_tp_btf")
    bpf.attach("bind_tp_btf")
    call(4)
    bpf._records["bind_ring"] = ctypes.c_uint64
    assert list(bpf.drain("bind_ring")) == []
    assert dict(bpf.decode_lost) == {"bind_ring": 4}


def test_programs_that_share_a_section_attach_and_detach_by_name(load):
    bpf = load("bind_tp_btf", "bind_second", live={"bind_live": 1})
    bpf.attach("bind_second")
    bpf.attach("bind_second")
    call(2)
    bpf.attach("bind_tp_btf")
    call(3)
    bpf.detach("bind_second")
    bpf.detach("bind_second")
    call(5)
    bpf.attach("bind_second")
    call(7)
    assert numbers(bpf) == {1: 15, 1000: 12}


@pytest.mark.parametrize(("program", "number"), [("bind_raw_tp", 2000), ("bind_tp", 3000)])
def test_a_tracepoint_program_counts_on_every_cpu(load, program, number):
    bpf = load(program)
    bpf.attach(program)
    allowed = os.sched_getaffinity(0)
    for cpu in allowed:
        os.sched_setaffinity(0, {cpu})
        call(6)
    os.sched_setaffinity(0, allowed)
    bpf.detach(program)
    call(1)
    assert numbers(bpf) == {number: 6 * len(allowed)}


def test_one_tracepoint_program_counts_in_several_places(load):
    bpf = load("bind_tp")
    bpf.attach("bind_tp")
    for _ in range(2):
        bpf.attach("bind_tp", "raw_syscalls/sys_exit")
    call(6)
    assert bpf.attached == ("bind_tp",)
    bpf.detach("bind_tp", "raw_syscalls/sys_exit")
    call(5)
    bpf.detach("bind_tp")
    call(1)
    assert numbers(bpf) == {3000: 2 * 6 + 5}
    with pytest.raises(AttachError, match="this kernel has no tracepoint obi/elsewhere"):
        bpf.attach("bind_tp", "obi/elsewhere")


@pytest.mark.kernel(needs=("cgroup2",))
def test_a_cgroup_program_counts_the_sockets_of_this_process(load):
    bpf = load("bind_sock_create")
    bpf.attach("bind_sock_create")
    for _ in range(3):
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    bpf.detach("bind_sock_create")
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    assert numbers(bpf) == {4000: 3}


def test_an_iterator_gives_every_row_of_the_map_it_walks(load):
    bpf = load("bind_walk", "bind_second")
    bpf.attach("bind_walk")
    for number in range(40):
        bpf._map("bind_numbers").update(number, number * number)
    pairs = {pair.key: pair.value for pair in bpf.iterate("bind_walk", walk="bind_numbers")}
    assert pairs == {number: number * number for number in range(40)}
    with pytest.raises(AttachError, match=r"bind_walk \(iter/bpf_map_elem\): .* \[EBADF\]"):
        list(bpf.iterate("bind_walk"))


def test_take_reads_and_deletes(load):
    bpf = load("bind_second")
    bpf._map("bind_numbers").update(3, 33)
    assert bpf.take("bind_numbers", 3) == 33
    assert bpf.take("bind_numbers", 3) is None
    assert numbers(bpf) == {}


def test_constants_and_sizes_reach_the_kernel(load):
    bpf = load("bind_tp_btf", constants={"bind_small": 255}, entries={"bind_numbers": 128, "bind_ring": 8192})
    bpf.attach("bind_tp_btf")
    call(1)
    assert dict(bpf.rows("bind_constants"))[0] == 255
    sizes = {each.name: each.max_entries for each in bpf.maps()}
    assert (sizes["bind_numbers"], sizes["bind_ring"]) == (128, 8192)
    assert all(each.memory_bytes > 0 for each in bpf.maps())


def test_a_constant_keeps_its_default_when_nobody_sets_it(load):
    bpf = load("bind_tp_btf")
    bpf.attach("bind_tp_btf")
    call(1)
    assert dict(bpf.rows("bind_constants"))[0] == 7


def test_only_the_maps_that_the_programs_refer_to_are_created(load):
    assert {each.name for each in load("bind_raw_tp").maps()} == {"bind_numbers"}
    assert {each.name for each in load("bind_walk").maps()} == set()
    assert {each.name for each in load("bind_tp_btf").maps()} == {
        "bind_structs",
        "bind_numbers",
        "bind_percpu",
        "bind_percpu_array",
        "bind_constants",
        "bind_ring",
        "bind_live",
    }


def test_a_program_tells_its_cost(load):
    bpf = load("bind_tp_btf", "bind_second")
    stats = {each.name: each for each in bpf.programs()}
    assert sorted(stats) == ["bind_second", "bind_tp_btf"]
    assert all(each.instructions > 0 for each in stats.values())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"constants": {"bind_nope": 1}}, "has no constant (OBI_SETTING) called bind_nope"),
        ({"live": {"bind_nope": 1}}, "has no setting (OBI_LIVE) called bind_nope"),
        ({"entries": {"bind_nope": 1}}, "has no map called bind_nope"),
        ({"constants": {"bind_small": 256}}, "256 does not fit bind_small, which has 1 bytes"),
    ],
)
def test_a_plan_that_the_object_cannot_serve_is_named(load, wanted, message):
    with pytest.raises(LoadError) as caught:
        load("bind_tp_btf", **wanted)
    assert message in str(caught.value)


def test_the_verifiers_reason_is_in_the_error(load):
    with pytest.raises(LoadError) as caught:
        load("bind_tp_btf", "bind_wrong")
    error = caught.value
    assert (error.program, error.section, error.errno) == ("bind_wrong", "raw_tp/sys_exit", errno.EACCES)
    assert error.log == "R0 invalid mem access 'map_value_or_null'"
    assert reason_of(error) is Reason.LOAD_REFUSED
    assert str(error) == (
        "bind_wrong (raw_tp/sys_exit): the kernel would not load it [EACCES]: R0 invalid mem access 'map_value_or_null'"
    )


def test_optional_programs_that_will_not_load_are_left_out_and_noted(load):
    bpf = load("bind_wrong?", "bind_second", "bind_no_tp_btf?")
    assert sorted(bpf.refused) == ["bind_no_tp_btf", "bind_wrong"]
    assert bpf.refused["bind_wrong"].log == "R0 invalid mem access 'map_value_or_null'"
    for program in ("bind_wrong", "bind_second", "bind_no_tp_btf"):
        bpf.attach(program)
    call(4)
    assert numbers(bpf) == {1000: 4}


def test_a_mode_of_which_no_program_is_left_does_not_load(load):
    with pytest.raises(LoadError, match="bind_wrong"):
        load("bind_wrong?")


def test_a_hook_that_this_kernel_lacks_is_named_at_load(load):
    with pytest.raises(LoadError) as caught:
        load("bind_no_tp_btf")
    assert str(caught.value).startswith(
        "bind_no_tp_btf (tp_btf/obi_no_such_event): this kernel has no obi_no_such_event to attach to [ESRCH]"
    )
    assert reason_of(caught.value) is Reason.HOOK_MISSING


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("bind_no_tp", "bind_no_tp (tp/obi/no_such_event): this kernel has no tracepoint obi/no_such_event [ENOENT]"),
        (
            "bind_no_raw_tp",
            "bind_no_raw_tp (raw_tp/obi_no_such_event): this kernel has no tracepoint obi_no_such_event [ENOENT]",
        ),
    ],
)
def test_a_missing_tracepoint_is_named_at_attach(load, program, message):
    with pytest.raises(AttachError) as caught:
        load(program).attach(program)
    assert str(caught.value) == message
    assert reason_of(caught.value) is Reason.HOOK_MISSING
    bpf = load(f"{program}?")
    bpf.attach(program)
    assert str(bpf.refused[program]) == message


def test_without_tracefs_or_cgroup2_the_error_says_how_to_mount_it(load):
    class Bare(Host):
        def tracefs(self):
            return None

        def cgroup2(self):
            return None

    bpf = load("bind_tp", "bind_sock_create", host=Bare())
    with pytest.raises(AttachError, match="mount -t tracefs") as caught:
        bpf.attach("bind_tp")
    assert reason_of(caught.value) is Reason.NO_TRACEFS
    with pytest.raises(AttachError, match="mount -t cgroup2") as caught:
        bpf.attach("bind_sock_create")
    assert reason_of(caught.value) is Reason.NO_CGROUP2


def test_an_object_that_was_not_built_says_how_to_build_it(package):
    with pytest.raises(LoadError, match=r"obi_binding_fixture/other\.bpf\.o is missing: .*make bpf") as caught:
        LibbpfLoader(Host()).load(package, "other", Mode("test"), LoadPlan({}, {}, {}))
    assert reason_of(caught.value) is Reason.OBJECT_MISSING


def test_a_map_that_is_not_loaded_is_named_with_those_that_are(load):
    bpf = load("bind_second")
    with pytest.raises(KernelError, match=r"no map 'bind_unused' is loaded; there are: bind_numbers"):
        bpf.rows("bind_unused")


def test_a_map_that_only_a_refused_program_would_use_is_empty(package):
    loader = lacking(LibbpfLoader(Host()), "bind_tp_btf")
    mode = Mode("two", (Program("bind_second"), Program("bind_tp_btf", loses=("structs",))))
    with loader.load(package, "binding", mode, LoadPlan({}, {}, {})) as bpf:
        assert set(bpf.refused) == {"bind_tp_btf"}
        assert {each.name for each in bpf.maps()} == {"bind_numbers"}
        assert (list(bpf.rows("bind_structs")), bpf.take("bind_structs", 1)) == ([], None)


def test_severing_from_another_thread_stops_counting_and_frees_nothing(load):
    bpf = load("bind_second")
    bpf.attach("bind_second")
    call(5)
    thread = threading.Thread(target=bpf.sever)
    thread.start()
    thread.join()
    call(5)
    assert numbers(bpf) == {1000: 5}
    with pytest.raises(AttachError, match="too late"):
        bpf.attach("bind_second")


def test_closing_gives_back_every_descriptor_program_map_and_link(load, kernel_objects):
    before = descriptors()
    bpf = load("bind_tp_btf", "bind_raw_tp", "bind_tp", "bind_sock_create", "bind_walk", "bind_wrong?")
    for program in ("bind_tp_btf", "bind_raw_tp", "bind_tp", "bind_sock_create", "bind_walk"):
        bpf.attach(program)
    call(2)
    list(bpf.drain("bind_ring"))
    list(bpf.iterate("bind_walk", walk="bind_numbers"))
    mine = kernel_objects()
    assert (len(mine["prog"]), len(mine["map"]), len(mine["link"])) == (5, 8, 4)  # seven maps and the constants
    bpf.close()
    bpf.close()
    assert descriptors() == before
    kernel_objects.gone(mine)


def test_a_load_that_fails_gives_back_everything(load, kernel_objects):
    load("bind_second").close()
    before = descriptors()
    for programs in (("bind_tp_btf", "bind_wrong"), ("bind_no_tp_btf",)):
        with pytest.raises(LoadError):
            load(*programs)
    with pytest.raises(LoadError):
        load("bind_tp_btf", entries={"bind_numbers": 0})
    assert descriptors() == before


def test_a_map_that_the_kernel_will_not_create_is_named(load):
    with pytest.raises(LoadError, match=r"the kernel would not create map bind_numbers \[EINVAL\]"):
        load("bind_second", entries={"bind_numbers": 0})


TRY_TO_LOAD = """
import ctypes, sys
from obi_core.errors import LoadError
from obi_core.host import Host
from obi_core.kernel.libbpf import LibbpfLoader
from obi_core.kernel.trial import reason_of
from obi_core.model import LoadPlan, Mode, Program

if sys.argv[2] == "without capabilities":
    version_3, everything_off = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(version_3, everything_off) == 0
try:
    LibbpfLoader(Host()).load(sys.argv[1], "binding", Mode("test", (Program("bind_second"),)), LoadPlan({}, {}, {}))
except LoadError as error:
    print(reason_of(error).value, error, sep="\\n")
"""


def try_to_load(package, how, *command):
    # In a process of its own: libbpf remembers for ever what it once could not do.
    done = subprocess.run(
        [*command, sys.executable, "-c", TRY_TO_LOAD, package, how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_without_capabilities_the_error_names_the_one_that_is_missing(package):
    assert try_to_load(package, "without capabilities") == [
        "missing_capability",
        "obi_binding_fixture/binding.bpf.o: the kernel would not load it: CAP_BPF is missing [EPERM]",
    ]


@pytest.mark.kernel(needs=("root", "cmd:unshare"))
def test_without_btf_the_error_says_so(package):
    hidden = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$0" "$@"')
    reason, sentence = try_to_load(package, "without BTF", *hidden)
    assert reason == "no_btf"
    assert "this kernel has no BTF (/sys/kernel/btf/vmlinux), which CO-RE objects need" in sentence


def test_what_libbpf_says_goes_to_the_log_at_debug_level(load, caplog, capfd):
    with caplog.at_level("DEBUG", logger="obi"), pytest.raises(LoadError):
        load("bind_wrong")
    assert "libbpf: prog 'bind_wrong': BPF program load failed" in caplog.text
    assert "R0 invalid mem access" in caplog.text
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    assert capfd.readouterr() == ("", "")


def test_the_installed_libbpf_tells_its_version():
    assert libbpf_version().startswith("1.")


def test_a_section_that_obi_does_not_attach_is_refused():
    with pytest.raises(AttachError, match=r"f \(kprobe/x\): OBI cannot attach programs of this section"):
        Hooks().attach("f", "kprobe/x", -1)


def descriptors():
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists the directory
            found.append(str(link.readlink()))
    return sorted(found)


@pytest.fixture
def kernel_objects():
    """Ids of the programs, maps and links that this process holds; the kernel frees them a moment after it lets go."""
    return KernelObjects()


class KernelObjects:
    def __call__(self):
        found = {"prog": set(), "map": set(), "link": set()}
        for entry in Path("/proc/self/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
                for kind, ids in found.items():
                    if f"{kind}_id" in fields and (kind == "link" or "link_id" not in fields):
                        ids.add(int(fields[f"{kind}_id"]))
        for program in list(found["prog"]):
            found["map"] |= maps_of(program)
        return found

    def gone(self, ids):
        event = threading.Event()
        for kind, numbers_of_kind in ids.items():
            following = getattr(ctypes.CDLL("libbpf.so.1"), f"bpf_{kind}_get_next_id")
            while left := numbers_of_kind & listed(following):
                # Freed after a grace period, of which the kernel tells nobody; the test's own timeout ends this.
                event.wait(0.01)
                assert left


def maps_of(program):
    lib = ctypes.CDLL("libbpf.so.1")
    fd = lib.bpf_prog_get_fd_by_id(program)
    ids = (ctypes.c_uint32 * 64)()
    info = bytearray(224)
    info[52:56] = (64).to_bytes(4, "little")
    info[56:64] = ctypes.addressof(ids).to_bytes(8, "little")
    raw = (ctypes.c_char * 224).from_buffer(info)
    length = ctypes.c_uint32(224)
    assert libbpf().bpf_obj_get_info_by_fd(fd, raw, ctypes.byref(length)) == 0
    os.close(fd)
    return set(ids[: int.from_bytes(info[52:56], "little")])


def listed(following):
    found, number = set(), ctypes.c_uint32(0)
    while following(number, ctypes.byref(number)) == 0:
        found.add(number.value)
    return found
