"""tc programs at network interfaces: by the kernel's own link, and by a filter of the clsact discipline."""

import errno
import importlib
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from obi_core import hatch
from obi_core.errors import AttachError
from obi_core.host import Host
from obi_core.kernel.libbpf import LibbpfLoader
from obi_core.model import LoadPlan, Mode, Program

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:net_admin", "btf", "cmd:ip", "cmd:tc"))

MODE = Mode("tc", (Program("interface_in"), Program("interface_out")))
FRAME = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(50)
"""To everybody, of an experimental protocol that nobody else on this machine speaks."""


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


@pytest.fixture
def pair():
    """A veth pair: (what is watched, its other end), that says nothing by itself."""
    here, there = f"obi{os.getpid() % 100000}a", f"obi{os.getpid() % 100000}b"
    run("ip", "link", "add", here, "type", "veth", "peer", "name", there)
    try:
        for end in (here, there):
            Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
            run("ip", "link", "set", end, "up")
        yield here, there
    finally:
        subprocess.run(["ip", "link", "del", here], check=False, capture_output=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interface")
    made = folder / "interface_fixture"
    made.mkdir()
    (made / "__init__.py").touch()
    shutil.copy(Path(__file__).parents[1] / "fixtures/interface/interface.bpf.c", made)
    hatch.build([made])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield made.name


@pytest.fixture(params=["link", "filter"])
def loaded(request, package):
    """The fixture's object; one that is attached as this kernel likes best, one by filters."""
    with LibbpfLoader(Host(), tcx=request.param == "link").load(package, "interface", MODE, LoadPlan({}, {}, {})) as made:
        yield made


def send(interface, count):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        for _ in range(count):
            raw.send(FRAME)


def packets(loaded):
    counted = dict(loaded.rows("interface_packets"))
    return counted[0], counted[1]


def filters(interface, direction):
    return json.loads(run("tc", "-j", "filter", "show", "dev", interface, direction))


def test_each_direction_counts_what_passes_it_and_nothing_after_the_detach(loaded, pair):
    here, there = pair
    loaded.attach("interface_in", f"{here}:ingress")
    loaded.attach("interface_out", f"{here}:egress")
    send(there, 23)
    send(here, 7)
    assert packets(loaded) == (23, 7)
    assert loaded.attached == ("interface_in", "interface_out")
    loaded.detach("interface_in")
    send(there, 5)
    send(here, 5)
    assert packets(loaded) == (23, 12)


def test_one_program_stands_at_several_interfaces_and_leaves_one_alone(loaded, pair):
    here, there = pair
    loaded.attach("interface_out", f"{here}:egress")
    loaded.attach("interface_out", f"{there}:egress")
    loaded.attach("interface_out", f"{there}:egress")
    send(here, 3)
    send(there, 4)
    assert packets(loaded) == (0, 7)
    loaded.detach("interface_out", f"{there}:egress")
    send(here, 3)
    send(there, 4)
    assert packets(loaded) == (0, 10)


def test_closing_and_severing_leave_no_filter_and_no_discipline(loaded, pair):
    here, _ = pair
    before = run("tc", "qdisc", "show", "dev", here)
    loaded.attach("interface_in", f"{here}:ingress")
    loaded.attach("interface_out", f"{here}:egress")
    loaded.sever()
    assert filters(here, "ingress") == filters(here, "egress") == []
    assert run("tc", "qdisc", "show", "dev", here) == before
    with pytest.raises(AttachError, match="attached too late"):
        loaded.attach("interface_in", f"{here}:ingress")
    assert filters(here, "ingress") == []


def test_what_a_killed_agent_left_is_replaced_and_not_doubled(package, pair):
    here, there = pair
    loader, plan = LibbpfLoader(Host(), tcx=False), LoadPlan({}, {}, {})
    with loader.load(package, "interface", MODE, plan) as first, loader.load(package, "interface", MODE, plan) as second:
        first.attach("interface_in", f"{here}:ingress")
        second.attach("interface_in", f"{here}:ingress")
        send(there, 11)
        assert packets(first) == (0, 0)
        assert packets(second) == (11, 0)


def test_somebody_else_s_discipline_and_filters_stay(package, pair):
    here, _ = pair
    loader, plan = LibbpfLoader(Host(), tcx=False), LoadPlan({}, {}, {})
    with loader.load(package, "interface", MODE, plan) as theirs, IPRoute() as route:
        index, fd = socket.if_nametoindex(here), theirs._programs["interface_in"].fd
        route.tc("add", "clsact", index)
        route.tc("add-filter", "bpf", index, fd=fd, name="theirs", parent=0xFFFFFFF2, prio=7, protocol=3, direct_action=True)
    with loader.load(package, "interface", MODE, plan) as loaded:
        loaded.attach("interface_in", f"{here}:ingress")
        assert {each["pref"] for each in filters(here, "ingress")} == {7, 177}
    assert {each["pref"] for each in filters(here, "ingress")} == {7}
    assert "clsact" in run("tc", "qdisc", "show", "dev", here)


def test_an_interface_that_goes_takes_its_attachments_along(loaded, pair):
    here, _ = pair
    loaded.attach("interface_in", f"{here}:ingress")
    run("ip", "link", "del", here)
    loaded.detach("interface_in")
    assert loaded.attached == ()


def test_an_interface_that_is_not_there_is_named(loaded):
    with pytest.raises(AttachError, match="there is no network interface obinone0") as caught:
        loaded.attach("interface_in", "obinone0:ingress")
    assert (caught.value.errno, caught.value.need) == (errno.ENODEV, "interface:obinone0")


@pytest.mark.parametrize("to", ["", "eth0", "eth0:sideways", ":ingress"])
def test_a_place_that_is_none_is_refused(loaded, to):
    with pytest.raises(AttachError, match="is attached to INTERFACE:ingress or INTERFACE:egress, not to"):
        loaded.attach("interface_in", to)


@pytest.mark.parametrize("way", ["link", "filter"])
def test_an_interface_that_is_gone_takes_its_programs_along_and_that_is_seen(package, pair, way):
    here, there = pair
    with LibbpfLoader(Host(), tcx=way == "link").load(package, "interface", MODE, LoadPlan({}, {}, {})) as loaded:
        loaded.attach("interface_in", f"{here}:ingress")
        loaded.attach("interface_out", f"{there}:egress")
        assert loaded.lost() == ()
        run("ip", "link", "del", here)
        assert sorted(loaded.lost()) == [("interface_in", f"{here}:ingress"), ("interface_out", f"{there}:egress")]
        assert loaded.attached == ()


def test_a_filter_that_somebody_deleted_is_seen_and_can_be_put_back(package, pair):
    here, _ = pair
    with LibbpfLoader(Host(), tcx=False).load(package, "interface", MODE, LoadPlan({}, {}, {})) as loaded:
        loaded.attach("interface_out", f"{here}:egress")
        run("tc", "filter", "del", "dev", here, "egress")
        assert loaded.lost() == (("interface_out", f"{here}:egress"),)
        loaded.attach("interface_out", f"{here}:egress")
        assert loaded.lost() == ()
