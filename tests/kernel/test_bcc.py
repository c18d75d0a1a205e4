"""BCC and its child process: what it may and may not do to the agent."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from obi_core.errors import LoadError
from obi_core.host import Host
from obi_core.kernel import bcc
from obi_core.kernel.bcc import BccLoader
from obi_core.model import Mode, Program

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root", "cmd:clang"))

_PLAIN = {name: value for name, value in os.environ.items() if name != "BCC_KERNEL_SOURCE"}


class _Elsewhere:
    """A node of another release."""

    sys = Path("/sys")

    def release(self):
        return "4.19.0-none"


_UNCHECKED = (
    "verbs_door.update(&thread, &call);\n return 0;",
    "u64 *sum = verbs_calls.lookup(&call.duration_ns); return *sum;",
)


@pytest.fixture
def variant(verbs, tmp_path, monkeypatch):
    """Make a package whose text for BCC differs."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(edit):
        package = tmp_path / f"variant_of_{tmp_path.name}"
        shutil.copytree(verbs.folder / verbs.package, package)
        text = (package / "verbs.bcc.c").read_text()
        edited = edit(text)
        assert edited != text
        (package / "verbs.bcc.c").write_text(edited)
        return package.name

    return make


_ON_A_NODE_WITHOUT_BTF = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from obi_core.host import Host
from obi_core.kernel.bcc import BccLoader
from obi_core.model import LoadPlan, Mode, Program

call = int(sys.argv[2])
mode = Mode("both", (Program("verbs_enter"), Program("verbs_exit")))
plan = LoadPlan({"verbs_tgid": os.getpid(), "verbs_call": call}, {}, {})
environ = {name: value for name, value in os.environ.items() if name != "BCC_KERNEL_SOURCE"}
assert Host().btf() is None
with BccLoader(Host(), environ=environ).load("verbs_fixture", "verbs", mode, plan) as loaded:
    for program in mode.programs:
        loaded.attach(program.name)
    for _ in range(13):
        ctypes.CDLL(None).syscall(ctypes.c_long(call), ctypes.c_ulong(2_000))
    print(dict(loaded.rows("verbs_calls")))
"""


def test_compiler_and_bcc_stay_out_of_the_agents_process(verbs, bcc_loader):
    before = _children()
    with bcc_loader().load(verbs.package, "verbs", verbs.mode, verbs.plan()):
        mapped = Path("/proc/self/maps").read_text()
        assert _children() == before
    assert "libbcc" not in mapped
    assert "libLLVM" not in mapped


def test_on_a_node_without_btf_bcc_counts_with_the_running_kernels_own_headers(verbs, split_headers):
    source, build = split_headers
    # links as the distribution makes them, in a mount namespace that ends with the shell
    shell = (
        "mount -t tmpfs none /sys/kernel/btf && mount -t tmpfs none /lib/modules && modules=/lib/modules/$(uname -r)"
        ' && mkdir "$modules" && ln -s "$1" "$modules/source" && ln -s "$2" "$modules/build" && shift 2 && exec "$@"'
    )
    apart = ["unshare", "-m", "sh", "-c", shell, "sh", str(source), str(build)]
    command = [*apart, sys.executable, "-c", _ON_A_NODE_WITHOUT_BTF, str(verbs.folder), str(verbs.number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.stdout, done.stderr) == ("{2000: 13}\n", "")


def test_a_read_of_a_kernel_struct_does_not_compile_for_bcc(verbs, variant, bcc_loader):
    read = "int peek(void *ctx) { return ((struct task_struct *)ctx)->pid; }\n"
    package = variant(lambda text: read + text)
    with pytest.raises(LoadError) as caught:
        bcc_loader().load(package, "verbs", verbs.mode, verbs.plan())
    assert str(caught.value) == (
        "verbs.bcc.c: BCC refused it: verbs.bcc.c:1:57: error: incomplete definition of type 'struct task_struct'"
    )


def test_a_program_that_the_verifier_refuses_is_named_with_its_last_words(verbs, variant, bcc_loader):
    package = variant(lambda text: text.replace(*_UNCHECKED))
    with pytest.raises(LoadError) as caught:
        bcc_loader().load(package, "verbs", verbs.mode, verbs.plan())
    assert caught.value.errno == errno.EACCES
    # the register is the compiler's choice
    assert re.sub(r"R\d", "R", str(caught.value)) == (
        "verbs_enter (tp/raw_syscalls/sys_enter): the kernel would not load it [EACCES]:"
        " R invalid mem access 'map_value_or_null'"
    )


def test_a_refused_program_that_may_be_lost_is_noted_and_the_others_work(verbs, variant, bcc_loader):
    package = variant(lambda text: text.replace(*_UNCHECKED))
    mode = Mode("half", (Program("verbs_enter", loses=("everything",)), Program("verbs_other")))
    with bcc_loader().load(package, "verbs", mode, verbs.plan()) as loaded:
        assert [program.name for program in loaded.programs()] == ["verbs_other"]
        assert [(name, error.errno) for name, error in loaded.refused.items()] == [("verbs_enter", errno.EACCES)]
        assert [each.name for each in loaded.maps()] == ["verbs_idle"]


def test_a_kernel_without_ring_buffer_loses_the_records_and_counts_the_rest(verbs, variant, bcc_loader):
    package = variant(lambda text: bcc.RING_STUB + text)
    with bcc_loader().load(package, "verbs", verbs.mode, verbs.plan()) as loaded:
        verbs.run(loaded)
        assert "verbs_ring" not in {each.name for each in loaded.maps()}
        assert dict(loaded.rows("verbs_calls")) == verbs.by_duration
        assert verbs.outcomes(loaded)["lost"] == verbs.calls


def test_a_compiler_that_aborts_takes_only_its_own_process_along(verbs, variant, bcc_loader):
    package = variant(lambda text: "#pragma clang __debug llvm_fatal_error\n" + text)
    with pytest.raises(LoadError, match=r"^verbs\.bcc\.c: BCC's process was ended by SIG[A-Z]+ before it had loaded"):
        bcc_loader().load(package, "verbs", verbs.mode, verbs.plan())


def test_a_killed_child_is_one_sentence(verbs, bcc_loader):
    def kill():
        while not (found := _children() - before):
            os.sched_yield()
        os.kill(int(found.pop()), signal.SIGKILL)

    before = _children()
    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(LoadError) as caught:
        bcc_loader().load(verbs.package, "verbs", verbs.mode, verbs.plan())
    killer.join()
    assert str(caught.value) == "verbs.bcc.c: BCC's process was ended by SIGKILL before it had loaded"


def test_a_child_that_takes_too_long_is_killed(verbs, bcc_loader):
    before = _children()
    with pytest.raises(LoadError) as caught:
        bcc_loader(deadline_s=0.01).load(verbs.package, "verbs", verbs.mode, verbs.plan())
    assert (
        str(caught.value)
        == "verbs.bcc.c: BCC did not compile and load it within 0.01 s (OBI_BCC_DEADLINE_S); its process was killed"
    )
    assert _children() == before


def test_missing_headers_are_one_sentence(verbs, tmp_path):
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/osrelease").write_text("4.19.0-none\n")
    loader = BccLoader(Host(proc=tmp_path), environ={}, modules=tmp_path)
    with pytest.raises(LoadError) as caught:
        loader.load(verbs.package, "verbs", verbs.mode, verbs.plan())
    assert caught.value.need == "headers"
    assert str(caught.value) == (
        f"verbs.bcc.c: BCC needs kernel headers and {tmp_path}/4.19.0-none has none: install the package"
        " linux-headers-4.19.0-none, or name a directory that has them in BCC_KERNEL_SOURCE"
    )


def test_headers_of_another_release_do_for_a_source_that_reads_no_kernel_struct(verbs):
    # this machine's headers are 6.1's, whatever it runs
    with BccLoader(Host(), environ=_PLAIN).load(verbs.package, "verbs", verbs.mode, verbs.plan()) as loaded:
        verbs.run(loaded)
        assert dict(loaded.rows("verbs_calls")) == verbs.by_duration


def test_headers_of_another_release_are_refused_for_a_source_that_reads_kernel_structs(verbs, variant, split_headers):
    read = "static inline int peek(void *to, void *from) { return bpf_probe_read_kernel(to, 4, from); }\n"
    package = variant(lambda text: read + text)
    release = re.search('"(.*)"', (split_headers[1] / "include/generated/utsrelease.h").read_text())[1]
    with pytest.raises(LoadError) as caught:
        BccLoader(_Elsewhere(), environ=_PLAIN).load(package, "verbs", verbs.mode, verbs.plan())
    assert caught.value.need == "headers"
    assert re.sub("in /[^ ]*", "in …", str(caught.value)) == (
        f"verbs.bcc.c: it reads kernel structs (bpf_probe_read_kernel), and the headers in … are of {release},"
        " not of 4.19.0-none: install linux-headers-4.19.0-none"
    )


def test_a_wrong_header_directory_is_one_sentence(verbs, tmp_path):
    with pytest.raises(LoadError) as caught:
        BccLoader(Host(), environ={"BCC_KERNEL_SOURCE": str(tmp_path)}).load(verbs.package, "verbs", verbs.mode, verbs.plan())
    assert str(caught.value) == (
        f"verbs.bcc.c: BCC_KERNEL_SOURCE={tmp_path} holds no kernel headers (no include/linux/kconfig.h); correct or unset it"
    )


def test_an_interpreter_without_bcc_is_one_sentence(verbs, bcc_loader, tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    bare = SimpleNamespace(executable=str(tmp_path / "bare/bin/python"))
    monkeypatch.setattr("obi_core.kernel.bcc_process.sys", bare)
    with pytest.raises(LoadError) as caught:
        bcc_loader().load(verbs.package, "verbs", verbs.mode, verbs.plan())
    assert str(caught.value) == (
        "verbs.bcc.c: BCC cannot be used (No module named 'bcc'): install the Debian package python3-bpfcc,"
        " and make the virtual environment with --system-site-packages"
    )


def test_a_program_that_is_not_in_the_text_for_bcc_needs_btf(verbs, variant, bcc_loader):
    package = variant(lambda text: text.replace("int verbs_exit(", "static int verbs_unused("))
    with pytest.raises(LoadError) as caught:
        bcc_loader().load(package, "verbs", verbs.mode, verbs.plan())
    assert caught.value.need == "btf"
    assert str(caught.value) == (
        "verbs_exit (raw_tp/sys_exit): this program is for CO-RE only (it reads kernel structs): it needs a kernel with BTF"
    )
    mode = Mode("half", (Program("verbs_enter"), Program("verbs_exit", loses=("everything",))))
    with bcc_loader().load(package, "verbs", mode, verbs.plan()) as loaded:
        assert [program.name for program in loaded.programs()] == ["verbs_enter"]
        assert list(loaded.refused) == ["verbs_exit"]


def _children():
    return set(Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text().split())
