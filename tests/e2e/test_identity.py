"""Who did it, seen from outside: processes that live for moments, cgroups that are gone, containers of real runtimes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from obi_core.cgroups import Cgroups

pytestmark = [pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf")), pytest.mark.timeout(90)]

CLIENT = r"""
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
	int failed = connect(fd, (void *)&to, sizeof(to));
	usleep(5000);
	return failed != 0;
}
"""
MANY = r"""
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) /* PROGRAM PORT COUNT: at most 20 at a time */
{
	int left = atoi(argv[3]), running = 0, status, failed = 0;
	while (left || running) {
		if (left && running < 20) {
			if (!fork())
				return execl(argv[1], argv[1], argv[2], (char *)0);
			left--, running++;
			continue;
		}
		wait(&status);
		failed += status != 0, running--;
	}
	return failed != 0;
}
"""


@pytest.fixture
def build(tmp_path):
    def compiled(source, *names):
        (tmp_path / "x.c").write_text(source)
        for name in names:
            subprocess.run(["clang", "-O1", "-static", "-o", str(tmp_path / name), str(tmp_path / "x.c")], check=True)
        return tmp_path

    return compiled


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:

        def accept():
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def cgroup():
    """Make cgroups of this test's in the hierarchy that tells containers apart; gone at the end."""
    root = Cgroups().identifying()
    made = []

    def make(name):
        path = root / name
        try:
            for part in reversed([path, *list(path.parents)[: len(Path(name).parts) - 1]]):
                if not part.exists():
                    part.mkdir()
                    made.append(part)
        except OSError as error:
            pytest.skip(f"no cgroup can be made under {root}: {error.strerror}")
        return path

    yield make
    for path in reversed(made):
        for _ in range(100):
            try:
                path.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.02)
            else:
                break


@pytest.fixture
def agent(start_obi):
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    health, metrics = (each.getsockname()[1] for each in taken)
    for each in taken:
        each.close()

    class Agent:
        def start(self, **environ):
            where = ("--http-listen", f"127.0.0.1:{health}", "--metrics-listen", f"127.0.0.1:{metrics}")
            self.process = start_obi("run", "--plugins", "tcp", "--view", "off", "--interval", "300ms", *where, **environ)
            self.until(self.ready)

        def ready(self):
            with urllib.request.urlopen(f"http://127.0.0.1:{health}/ready", timeout=5) as answer:
                return json.load(answer)["ready"]

        def series(self, name):
            """Labels and value of every series of a metric."""
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5) as answer:
                text = answer.read().decode()
            found = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE)
            return [(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value)) for labels, value in found]

        def until(self, condition, timeout_s=25):
            end = time.monotonic() + timeout_s
            while time.monotonic() < end:
                try:
                    if found := condition():
                        return found
                except OSError:
                    pass
                time.sleep(0.05)
            raise AssertionError(self.series("obi_tcp_connects_total"))

    made = Agent()
    yield made
    made.process.send_signal(signal.SIGTERM)
    made.process.communicate(timeout=15)


def into(path):
    return lambda: (path / "cgroup.procs").write_text(str(os.getpid()))


def connects(agent, **labels):
    return sum(
        value
        for found, value in agent.series("obi_tcp_connects_total")
        if found.get("network_tcp_handshake_role") == "client" and labels.items() <= found.items()
    )


def test_2000_processes_that_live_for_5_ms_and_connect_once_are_all_named(agent, build, server, cgroup):
    names = ("obi-short-lived-alpha", "obi-short-lived-omega")
    folder = build(CLIENT, *names)
    build(MANY, "many")
    groups = [cgroup(f"obi-test-{name}") for name in names]
    agent.start()
    running = [
        subprocess.Popen([folder / "many", folder / name, str(server), "1000"], preexec_fn=into(group))  # noqa: PLW1509
        for name, group in zip(names, groups, strict=True)
    ]
    assert [process.wait(20) for process in running] == [0, 0]
    for name in names:
        # the kernel runs no program on top of itself and says how often it did not, and the probe what found no room in a map:
        # so many connects nobody counted
        found = agent.until(
            lambda p=f"/obi-test-{name}": settled(agent, process_linux_cgroup=p, fewest=1000 - missed() - lost(agent))
        )
        assert found <= 1000
        assert connects(agent, process_executable_name=name, process_linux_cgroup=f"/obi-test-{name}") == found
    assert connects(agent, process_executable_name="obi-short-lived") == 0


def settled(agent, *, fewest, **labels):
    """The number of connects, once it is as large as it must be and stands."""
    before = connects(agent, **labels)
    time.sleep(0.7)  # more than two intervals
    return before if before >= fewest and before == connects(agent, **labels) else 0


def lost(agent):
    """Connections that found no room in a map of the probe's, by its own word."""
    return sum(
        value for labels, value in agent.series("obi_probe_lost_total") if labels["cause"] in {"rows_full", "sockets_full"}
    )


def missed():
    """Runs that the kernel left out because the program ran on this CPU already."""
    shown = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, text=True, check=True).stdout
    return sum(each.get("recursion_misses", 0) for each in json.loads(shown) if each.get("name", "").startswith("tcp_"))


def test_a_container_that_is_gone_before_anybody_looks_is_named(agent, build, server, cgroup):
    number = os.urandom(32).hex()
    folder = build(CLIENT, "moment")
    agent.start()
    group = cgroup(f"docker/{number}")
    subprocess.run([folder / "moment", str(server)], preexec_fn=into(group), check=True)
    group.rmdir()
    agent.until(lambda: connects(agent, container_id=number) == 1)


BUNDLE = {
    "ociVersion": "1.0.2",
    "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"]},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
}


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("parent", ["docker", "libpod_parent", "kubepods/burstable/pod6c1a2f0e-9d5b-4a77-8a55-0f3d2b1c4e5f"])
def test_a_container_of_a_real_runtime_is_named_by_its_id(agent, build, server, cgroup, tmp_path, runtime, parent):
    if shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed (Debian: apt install {runtime})")
    number = os.urandom(32).hex()
    folder = build(CLIENT, "client")
    bundle = tmp_path / "bundle"
    root = bundle / "rootfs"
    root.mkdir(parents=True)
    name = f"libpod-{number}" if parent == "libpod_parent" else number
    document = json.loads(json.dumps(BUNDLE))
    shutil.copy(folder / "client", root / "client")
    (root / "proc").mkdir()
    document["root"] = {"path": "rootfs"}
    document["process"]["args"] = ["/client", str(server)]
    document["linux"]["cgroupsPath"] = f"/{parent}/{name}"
    (bundle / "config.json").write_text(json.dumps(document))
    agent.start()
    state = tmp_path / "state"
    done = subprocess.run(
        [runtime, "--root", str(state), "run", "--bundle", str(bundle), number[:12]],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    if done.returncode != 0:
        pytest.skip(f"{runtime} cannot run a container here: {done.stderr.strip().splitlines()[-1:]}")
    agent.until(lambda: connects(agent, container_id=number) == 1)
