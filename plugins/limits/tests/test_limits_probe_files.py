"""What the probe makes of files: a tree of v1, one of v2, and files that are garbage, closed, or gone."""

import os
import shutil

import pytest

from obi_core import Cgroups, Observation, Owner, Row
from obi_plugin_limits.files.reading import Files
from obi_plugin_limits.settings import LimitsSettings

ID = "0123456789abcdef" * 4
NO_LIMIT = "9223372036854771712\n"
LEVELS = ("obi.limits.usage", "obi.limits.limit")
PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n"


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


class Tree:
    """A node of one's own: /proc, and cgroups of v1 or v2."""

    def __init__(self, folder, version):
        self.proc, self.root = folder / "proc", folder / "cgroup"
        write(
            self.proc,
            {
                "meminfo": "MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  250 kB\nHugePages_Total:  0\n",
                "loadavg": "0.00 0.01 0.05 2/123 4567\n",
                "sys/kernel/threads-max": "500\n",
                "sys/kernel/pid_max": "400\n",
                "sys/fs/file-nr": "70\t20\t1000\n",
                "sys/net/netfilter/nf_conntrack_count": "3\n",
                "sys/net/netfilter/nf_conntrack_max": "4\n",
                "vmstat": "nr_free_pages 7\noom_kill 2\n",
                **{f"pressure/{name}": PRESSURE for name in ("cpu", "memory", "io")},
            },
        )
        if version == 2:
            mounts = f"cgroup2 {self.root} cgroup2 rw 0 0\n"
            self.folders = dict.fromkeys(("cpu", "cpuacct", "memory", "pids"), self.root)
            hierarchies = "memory\t0\t5\t1\n"
        else:
            self.folders = {name: self.root / name for name in ("cpu", "cpuacct", "memory", "pids")}
            mounts = "".join(f"cgroup {path} cgroup rw,{name} 0 0\n" for name, path in self.folders.items())
            hierarchies = "memory\t4\t5\t1\n"
        write(self.proc, {"self/mounts": mounts, "cgroups": f"#subsys_name\thierarchy\tnum_cgroups\tenabled\n{hierarchies}"})
        for path in self.folders.values():
            path.mkdir(parents=True, exist_ok=True)

    def group(self, path, **by_controller):
        for controller, files in by_controller.items():
            write(self.folders[controller] / path, {name.replace("__", "."): text for name, text in files.items()})
        return (self.folders["memory"] / path).stat().st_ino if "memory" in by_controller else 0

    def files(self, **settings):
        own = LimitsSettings(**{"processes": 0, "listeners": 0, **settings})
        return Files(own, Cgroups.under(self.proc), clock=lambda: next(self.clock))

    clock = iter(range(0, 1_000_000, 10))


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def version(request):
    return request.param


@pytest.fixture
def tree(tmp_path, version):
    return Tree(tmp_path, version)


V1 = {
    "cpu": {
        "cpu__stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 1500000000\n",
        "cpu__cfs_quota_us": "50000\n",
        "cpu__cfs_period_us": "100000\n",
    },
    "cpuacct": {"cpuacct__usage": "2000000000\n"},
    "memory": {
        "memory__usage_in_bytes": "4096\n",
        "memory__limit_in_bytes": "8192\n",
        "memory__failcnt": "3\n",
        "memory__oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    },
    "pids": {"pids__current": "5\n", "pids__max": "10\n", "pids__events": "max 6\n"},
}
V2 = {
    "memory": {
        "cpu__stat": "usage_usec 2000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n",
        "cpu__max": "50000 100000\n",
        "memory__current": "4096\n",
        "memory__max": "8192\n",
        "memory__events": "low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\n",
        "memory__events__local": "low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\n",
        "pids__current": "5\n",
        "pids__max": "10\n",
        "pids__events": "max 6\n",
        "memory__pressure": PRESSURE,
    },
}


def values(batch, owner, group=""):
    """{(instrument, attributes…): value} of one owner, or of the node."""
    found = {}
    for each in batch:
        if isinstance(each, Observation) and each.owner == owner and each.attributes.get("process.linux.cgroup", "") == group:
            rest = [value for name, value in each.attributes.items() if name != "process.linux.cgroup"]
            found[(each.instrument.name.removeprefix("obi.limits."), *rest)] = each.value
    return found


def test_a_group_that_comes_gives_all_that_its_files_say(tree, version):
    with tree.files() as files:
        number = tree.group("web", **(V1 if version == 1 else V2))
        list(files.collect(show=False))
        batch = list(files.collect(show=True))

    pressed = {("pressure", "memory", "some"): 2.0, ("pressure", "memory", "full"): 1.0} if version == 2 else {}
    more = {("memory.events", "high"): 2, ("memory.events", "oom"): 1} if version == 2 else {}
    assert values(batch, Owner(0, 0, number, "")) == {
        ("cpu.throttled",): 1.5,
        ("cpu.throttled.periods",): 4,
        ("cpu.periods",): 10,
        ("usage", "cpu"): 0.0,
        ("limit", "cpu"): 0.5,
        ("memory.events", "max"): 3,
        ("usage", "memory"): 4096,
        ("limit", "memory"): 8192,
        ("pids.events",): 6,
        ("usage", "processes"): 5,
        ("limit", "processes"): 10,
        **pressed,
        **more,
    }
    rows = {row.cells[1]: row.cells for row in batch if isinstance(row, Row) and row.cells[0] == "/web"}
    assert rows == {
        "cpu": ("/web", "cpu", 0.0, "0", "0.5", 4),
        "memory": ("/web", "memory", 0.5, "4.1 kB", "8.2 kB", 3),
        "processes": ("/web", "processes", 0.5, "5", "10", 6),
    }


def test_what_the_node_has_is_told_without_a_subject(tree):
    with tree.files() as files:
        batch = list(files.collect(show=False))

    assert values(batch, None) == {
        ("usage", "memory"): 750 * 1024,
        ("limit", "memory"): 1000 * 1024,
        ("usage", "processes"): 123,
        ("limit", "processes"): 400,
        ("usage", "file_descriptors"): 50,
        ("limit", "file_descriptors"): 1000,
        ("usage", "connection_tracking"): 3,
        ("limit", "connection_tracking"): 4,
        **{("pressure", name, kind): 0 for name in ("cpu", "memory", "io") for kind in ("some", "full")},
    }


@pytest.mark.parametrize("resource", ["cpu", "memory", "processes", "pressure", "node"])
def test_a_resource_that_is_not_asked_for_is_absent_and_the_rest_is_there(tree, version, resource):
    every = ("cpu", "memory", "processes", "pressure", "node")
    with tree.files() as files:
        tree.group("web", **(V1 if version == 1 else V2))
        list(files.collect(show=False))
        whole = {(each.instrument.name, *each.attributes.values()) for each in observed(files)}
    with tree.files(resources=tuple(each for each in every if each != resource)) as files:
        list(files.collect(show=False))
        rest = {(each.instrument.name, *each.attributes.values()) for each in observed(files)}

    gone = {
        "cpu": {"cpu", "obi.limits.cpu.throttled", "obi.limits.cpu.throttled.periods", "obi.limits.cpu.periods"},
        "memory": {"obi.limits.memory.events"},
        "processes": {"obi.limits.pids.events"},
        "pressure": {"obi.limits.pressure"},
        "node": {"connection_tracking", "file_descriptors"},
    }[resource]
    assert whole - rest == {each for each in whole if each[0] in gone or (each[0] in LEVELS and each[1] in gone)}
    assert whole - rest


def observed(files):
    return [each for each in files.collect(show=False) if isinstance(each, Observation)]


def test_no_limit_is_no_point(tree, version):
    files = {
        1: {
            "memory": {"memory__usage_in_bytes": "1\n", "memory__limit_in_bytes": NO_LIMIT, "memory__failcnt": "0\n"},
            "pids": {"pids__current": "1\n", "pids__max": "max\n", "pids__events": "max 0\n"},
            "cpu": {"cpu__stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n", "cpu__cfs_quota_us": "-1\n"},
        },
        2: {
            "memory": {
                "memory__current": "1\n",
                "memory__max": "max\n",
                "memory__events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
                "pids__current": "1\n",
                "pids__max": "max\n",
                "pids__events": "max 0\n",
                "cpu__stat": "usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
                "cpu__max": "max 100000\n",
            }
        },
    }
    number = tree.group("free", **files[version])
    with tree.files() as reading:
        batch = list(reading.collect(show=True))

    assert values(batch, Owner(0, 0, number, "")) == {("usage", "memory"): 1, ("usage", "processes"): 1}
    assert [row for row in batch if isinstance(row, Row) and row.cells[0] == "/free"] == []


def test_garbage_in_a_file_costs_that_figure_alone_and_one_line(tree, version, caplog):
    files = {name: dict(group) for name, group in (V1 if version == 1 else V2).items()}
    bad = "memory__usage_in_bytes" if version == 1 else "memory__current"
    files["memory"][bad] = "\0\0 nonsense"
    with tree.files() as reading:
        number = tree.group("web", **files)
        for _ in range(3):
            batch = list(reading.collect(show=False))

    own = values(batch, Owner(0, 0, number, ""))
    assert ("usage", "memory") not in own
    assert own["usage", "processes"] == 5
    assert own["cpu.periods",] == 10
    (lost,) = [each for each in batch if getattr(each, "cause", "") == "files_garbled"]
    assert (lost.count, lost.place) == (3, "decode")
    (line,) = [record.getMessage() for record in caplog.records]
    file = f"{tree.folders['memory']}/web/{bad.replace('__', '.')}"
    assert line.startswith(f"limits: {file} has '\\x00\\x00 nonsense' where one number")
    assert line.endswith("this figure is left out")


def test_a_file_that_is_closed_to_us_is_said_once(tree, caplog, monkeypatch):
    opened = os.open

    def refuse(path, *rest, **more):
        if str(path).endswith("pressure/io"):
            raise OSError(95, "Operation not supported")
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    with tree.files() as files:
        batch = list(files.collect(show=False))

    assert ("pressure", "io", "some") not in values(batch, None)
    assert ("pressure", "cpu", "some") in values(batch, None)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"limits: io cannot be read (Operation not supported), at {tree.proc}/pressure/io and perhaps elsewhere; "
        "what it says is left out"
    )


def test_a_node_without_controllers_says_what_the_node_has(tmp_path):
    tree = Tree(tmp_path, 2)
    write(tree.proc, {"self/mounts": "", "cgroups": ""})
    with tree.files() as files:
        batch = list(files.collect(show=False))

    assert ("usage", "memory") in values(batch, None)
    assert {each.owner for each in batch if isinstance(each, Observation)} == {None}


def test_a_node_without_proc_says_nothing_and_breaks_nothing(tmp_path):
    tree = Tree(tmp_path, 2)
    shutil.rmtree(tree.proc)
    with tree.files() as files:
        assert [each for each in files.collect(show=True) if isinstance(each, Observation | Row)] == []


def test_a_group_that_is_in_one_hierarchy_only_carries_its_path(tmp_path):
    tree = Tree(tmp_path, 1)
    tree.group("batch", pids=V1["pids"])
    with tree.files() as files:
        batch = list(files.collect(show=False))

    assert values(batch, None, "/batch")["usage", "processes"] == 5


def test_what_lies_inside_a_container_is_the_containers_and_inside_a_unit_carries_its_path(tree, version):
    files = V1 if version == 1 else V2
    container = tree.group(f"kubepods/{ID}", **files)
    inside = tree.group(f"kubepods/{ID}/init", **files)
    unit = tree.group("system.slice/web.service", **files)
    part = tree.group("system.slice/web.service/worker", **files)
    with tree.files() as reading:
        batch = list(reading.collect(show=False))

    assert ("usage", "memory") in values(batch, Owner(0, 0, container, ""))
    assert ("usage", "memory") in values(batch, Owner(0, 0, unit, ""))
    assert ("usage", "memory") in values(batch, Owner(0, 0, part, ""), "/system.slice/web.service/worker")
    assert inside not in {each.owner.cgroup_id for each in batch if isinstance(each, Observation) and each.owner}
