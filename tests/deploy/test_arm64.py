"""The image's programs for arm64: every source compiles for it, and to the very bytes that x86-64 has.

So what differs between the machines is data: the tables of system calls, which plugins/syscall compares with both headers.
"""

import shutil
from pathlib import Path

import pytest

from obi_core import hatch

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "obi_core", *(ROOT / "plugins").glob("*/obi_plugin_*")]
SOURCES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in folder.rglob("*.bpf.c"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_an_object_for_arm64_is_the_one_for_x86_64(source, tmp_path, monkeypatch):
    made = {}
    for machine in ("x86_64", "aarch64"):
        folder = tmp_path / machine
        shutil.copytree(
            (ROOT / source).parent, folder, ignore=shutil.ignore_patterns("*.py", "*.bpf.o", "*.bcc.c", "__pycache__")
        )
        monkeypatch.setattr(hatch.platform, "machine", lambda machine=machine: machine)
        made[machine] = {path.name: path.read_bytes() for path in hatch.build([folder])}
    assert len(made["aarch64"]) == 2
    assert made["aarch64"] == made["x86_64"]


def test_the_five_programs_of_the_tree_are_among_them():
    assert [path.name.partition(".")[0] for path in SOURCES] == ["identity", "limits", "network", "syscall", "tcp"]
