"""Which control groups there are, from made-up nodes and from this machine."""

import os
from pathlib import Path

import pytest

from obi_core.cgroups import Cgroups


@pytest.fixture
def node(tmp_path):
    """Make a node: mounts of `(kind, directory, options)`, and whether the memory controller is v1's."""

    def made(*mounts, memory_v1):
        proc = tmp_path / "proc"
        (proc / "self").mkdir(parents=True)
        lines = [f"{kind} {tmp_path / directory} {kind} rw,{options} 0 0" for kind, directory, options in mounts]
        (proc / "self/mounts").write_text("\n".join(lines) + "\n")
        (proc / "cgroups").write_text(f"#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t{4 * memory_v1}\t9\t1\n")
        return Cgroups.under(proc)

    return made


def test_a_hybrid_node_has_v1_controllers_and_a_v2_without_any(node, tmp_path):
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2/cgroup.controllers").write_text("hugetlb\n")
    v1 = (("cgroup", "cpu,cpuacct", "cpu,cpuacct"), ("cgroup", "memory", "memory"))
    groups = node(*v1, ("cgroup2", "v2", "nsdelegate"), memory_v1=True)

    assert [groups.version(name) for name in ("cpu", "cpuacct", "memory", "pids", "hugetlb")] == [1, 1, 1, 0, 2]
    assert groups.root("cpuacct") == tmp_path / "cpu,cpuacct"
    assert groups.root("pids") is None
    assert groups.identifying() == tmp_path / "memory"


def test_a_v2_node_has_all_controllers_in_one_hierarchy(node, tmp_path):
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2/cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    groups = node(("cgroup2", "v2", "nsdelegate"), memory_v1=False)

    assert [groups.version(name) for name in ("cpu", "cpuacct", "memory", "devices")] == [2, 2, 2, 0]
    assert groups.root() == groups.identifying() == tmp_path / "v2"


def test_every_group_has_the_inode_number_of_its_directory_and_parents_come_first(node, tmp_path):
    for path in ("v2/kubepods/burstable/pod1", "v2/system.slice"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "v2/cgroup.procs").touch()
    groups = node(("cgroup2", "v2", "nsdelegate"), memory_v1=False)

    found = {str(each.path): each.id for each in groups.all()}

    assert set(found) == {"/", "/kubepods", "/kubepods/burstable", "/kubepods/burstable/pod1", "/system.slice"}
    assert all(number == (tmp_path / f"v2{path}").stat().st_ino for path, number in found.items())
    order = list(found)
    assert all(order.index(str(Path(path).parent)) < order.index(path) for path in found if path != "/")


def test_a_view_that_is_cut_off_by_a_cgroup_namespace_does_not_say_which_groups_live(node, tmp_path):
    (tmp_path / "v2/mine").mkdir(parents=True)
    groups = node(("cgroup2", "v2", ""), memory_v1=False)

    assert len(list(groups.all())) == 2
    assert groups.ids() is None, "the root of a whole hierarchy has the id 1"


def test_a_node_without_any_hierarchy_has_none(node):
    groups = node(memory_v1=False)

    assert groups.mounts() == {}
    assert groups.version("memory") == 0
    assert groups.identifying() is None
    assert list(groups.all()) == []
    assert groups.ids() is None


@pytest.mark.kernel(needs=("root",))
def test_on_this_machine_a_new_group_is_among_the_living_and_an_ended_one_is_not():
    groups = Cgroups()
    root = groups.identifying()
    assert root is not None
    directory = root / f"obi-test-groups-{os.getpid()}"
    directory.mkdir()
    number = directory.stat().st_ino
    try:
        assert number in groups.ids()
    finally:
        directory.rmdir()
    assert number not in groups.ids()
