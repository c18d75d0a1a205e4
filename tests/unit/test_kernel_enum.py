"""Enums out of BTF as the kernel shows it: whole in vmlinux, split in a module's own file."""

import struct

import pytest

from obi_core.errors import ObiError
from obi_core.kernel.enums import kernel_enum

INT, ARRAY, STRUCT, ENUM, FUNC_PROTO, DATASEC, ENUM64 = 1, 3, 4, 6, 13, 15, 19


class Writer:
    """Writes a BTF file; strings begin at `base`, as those of a module do behind the kernel's."""

    def __init__(self, base=0, first=b"\0"):
        self.base, self.strings, self.types = base, first, b""

    def name(self, text):
        at = self.base + len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, name, kind, count, *words, size=4, signed=False):
        self.types += struct.pack(f"={3 + len(words)}I", name, signed << 31 | kind << 24 | count, size, *words)

    def enum(self, name, members, *, signed=False):
        words = [word for text, value in members.items() for word in (self.name(text), value & 0xFFFFFFFF)]
        self.add(self.name(name), ENUM, len(members), *words, signed=signed)

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        head = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        path.write_bytes(head + self.types + self.strings)
        return self


@pytest.fixture
def vmlinux(tmp_path):
    """Types of every shape before the enum, so that only who walks them rightly comes to it."""
    kernel = Writer()
    kernel.add(kernel.name("int"), INT, 0, 32)
    kernel.add(0, ARRAY, 0, 1, 1, 7, size=0)
    kernel.add(kernel.name("pair"), STRUCT, 2, kernel.name("a"), 1, 0, kernel.name("b"), 1, 32, size=8)
    kernel.add(0, FUNC_PROTO, 3, 0, 1, 0, 1, 0, 0, size=1)
    kernel.add(kernel.name(".data"), DATASEC, 1, 1, 0, 4)
    kernel.enum("other_reason", {"OTHER": 9})
    kernel.enum("drop_reason", {"CONSUMED": 1, "NO_SOCKET": 3, "SUBSYS_MASK": 0xFFFF0000})
    kernel.enum("result", {"FINE": 0, "BAD": -22}, signed=True)
    kernel.add(kernel.name("wide"), ENUM64, 1, kernel.name("FAR"), 5, 1, size=8)
    return kernel.write(tmp_path / "kernel/btf/vmlinux")


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("drop_reason", {"CONSUMED": 1, "NO_SOCKET": 3, "SUBSYS_MASK": 0xFFFF0000}),
        ("result", {"FINE": 0, "BAD": -22}),
        ("wide", {"FAR": 5 + (1 << 32)}),
        ("pair", {}),
        ("reason", {}),
    ],
)
def test_an_enum_gives_its_numbers_by_name_and_what_is_no_enum_gives_none(vmlinux, tmp_path, name, members):
    assert kernel_enum(name, sys=tmp_path) == members


def test_an_enum_of_a_module_has_its_names_in_both_files(vmlinux, tmp_path):
    module = Writer(len(vmlinux.strings), b"")
    shared = vmlinux.strings.index(b"NO_SOCKET\0")
    module.add(module.name("ovs_reason"), ENUM, 2, module.name("LAST_ACTION"), 0x20001, shared, 0x20002)
    module.write(tmp_path / "kernel/btf/openvswitch")

    assert kernel_enum("ovs_reason", "openvswitch", tmp_path) == {"LAST_ACTION": 0x20001, "NO_SOCKET": 0x20002}
    assert kernel_enum("ovs_reason", sys=tmp_path) == {}


def test_a_kernel_without_btf_and_a_module_that_is_not_loaded_have_no_enums(vmlinux, tmp_path):
    assert kernel_enum("drop_reason", "mac80211", tmp_path) == {}
    assert kernel_enum("drop_reason", sys=tmp_path / "empty") == {}


@pytest.mark.parametrize("keep", [0, 10, 24, 60, -1])
def test_damaged_btf_is_one_sentence_with_its_file(vmlinux, tmp_path, keep):
    path = tmp_path / "kernel/btf/vmlinux"
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(ObiError, match=r"kernel/btf/vmlinux is damaged or not BTF: enum drop_reason cannot be read"):
        kernel_enum("drop_reason", sys=tmp_path)


@pytest.mark.kernel(needs=("btf",))
def test_the_enum_of_helper_numbers_is_read_from_this_kernel():
    assert kernel_enum("bpf_func_id")["BPF_FUNC_get_current_task_btf"] == 158
