"""`obi programs` and `obi maps` of a real agent, and what bpftool says of the same."""

import json
import socket
import subprocess
import time

import pytest

from obi_core.host import Host

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:sys_admin", "btf", "tracefs", "cmd:bpftool"))


def bpftool(what):
    done = subprocess.run(["bpftool", "--json", what, "list"], capture_output=True, text=True, check=True)
    return {each["id"]: each for each in json.loads(done.stdout)}


@pytest.fixture
def listen(start_obi, obi):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    words = ("--view", "off", "--plugins", "tcp", "--interval", "500ms", "--metrics-listen", "127.0.0.1:0")
    agent = start_obi("run", *words, "--http-listen", address)
    while agent.poll() is None:
        done = obi("maps", "--json", "--http-listen", address)
        if done.returncode == 0 and {each["probe"] for each in json.loads(done.stdout)["maps"]} >= {"core", "tcp"}:
            return address
        time.sleep(0.1)
    raise AssertionError(agent.stderr.read())


def test_they_are_the_programs_and_maps_that_the_kernel_has(listen, obi):
    programs = json.loads(obi("programs", "--json", "--http-listen", listen).stdout)["programs"]
    maps = json.loads(obi("maps", "--json", "--http-listen", listen).stdout)["maps"]
    for found, theirs in ((programs, bpftool("prog")), (maps, bpftool("map"))):
        assert [each["name"] for each in found if theirs[each["id"]]["name"] not in {each["name"], each["name"][:15]}] == []
    kernel = bpftool("map")
    for ours, theirs in (("memory_bytes", "bytes_memlock"), ("max_entries", "max_entries"), ("key_bytes", "bytes_key")):
        assert {each["id"]: each[ours] for each in maps} == {each["id"]: kernel[each["id"]].get(theirs, 0) for each in maps}


def test_every_program_that_is_no_iterator_is_attached(listen, obi):
    programs = json.loads(obi("programs", "--json", "--http-listen", listen).stdout)["programs"]
    assert {each["probe"] for each in programs} == {"core", "tcp"}
    assert [each["name"] for each in programs if each["attached"] == each["section"].startswith("iter/")] == []


@pytest.mark.skipif(not Host().has_capability("bpf"), reason="no BPF to drop")
def test_neither_takes_a_capability(listen, obi):
    for command in ("programs", "maps"):
        done = obi(
            command,
            "--http-listen",
            listen,
            prefix=("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"),
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) > 10
