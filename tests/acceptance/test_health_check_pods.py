"""`health-check.sh` in a cluster: pods by kubectl, one per node, and what the metrics server measures of them."""

import json
import os
import re
import sys

import pytest
from proving import QUICK, script

pytestmark = [
    pytest.mark.timeout(170),
    pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf")),
]
KUBECTL = """\
import json, os, sys
with open(os.environ["FAKE_CLUSTER"]) as file:
    cluster = json.load(file)
words = [word for word in sys.argv[1:] if word not in ("--namespace", "mop-system")]
if words[0] == "get":
    print(json.dumps(cluster[words[1]]))
elif words[0] == "top":
    if not cluster["top"]:
        sys.exit("error: Metrics API not available")
    print(cluster["top"])
elif words[0] == "port-forward":
    import socket, threading
    server = socket.create_server(("127.0.0.1", 0))
    to = cluster["ports"][words[-1]]
    print(f"Forwarding from 127.0.0.1:{server.getsockname()[1]} -> {to}", flush=True)
    def pump(one, other):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    while True:
        here, _ = server.accept()
        there = socket.create_connection(("127.0.0.1", to))
        for pair in ((here, there), (there, here)):
            threading.Thread(target=pump, args=pair, daemon=True).start()
"""


def pod(name, node, *, is_ready=True, restarts=0, reason=None):
    last = {"terminated": {"reason": reason}} if reason else {}
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
            "containerStatuses": [{"restartCount": restarts, "lastState": last}],
        },
    }


@pytest.fixture
def cluster(live, tmp_path):
    """A kubectl that knows one node and one pod, behind which the real agent answers."""
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{KUBECTL}")
    program.chmod(0o755)
    known = {
        "daemonsets": {"items": [{"status": {"desiredNumberScheduled": 1}}]},
        "pods": {"items": [pod("obi-x", "n1")]},
        "node": {"status": {"capacity": {"cpu": "4"}}},
        "top": "",
        "ports": {":8080": live.health, ":9090": live.metrics},
    }

    def run(*flags, **changes):
        (tmp_path / "cluster").write_text(json.dumps(known | changes))
        path = f"{program.parent}:{os.environ['PATH']}"
        return script("health-check.sh", *QUICK, *flags, path=path, FAKE_CLUSTER=str(tmp_path / "cluster"))

    return run


def test_pods_are_found_by_kubectl_and_asked_one_by_one(cluster):
    ran = cluster()
    assert (ran.status, ran.failed, ran.err) == (0, [], ""), ran.out
    seen = [(check["name"], check["seen"]) for check in ran.document["checks"]]
    assert seen[:3] == [
        ("pods", "a Ready pod on 1 of 1 eligible nodes"),
        ("restarts", "at most 0 of any pod"),
        ("health", "obi-x: its loop turns"),
    ]
    assert re.fullmatch(r"obi-x: [\d.]+ % of 4 CPUs, by its own measure", dict(seen)["cpu"])


def test_the_metrics_server_is_asked_first(cluster):
    ran = cluster("--max-cpu", "5", "--max-memory", "200", top="obi-x 960m 250Mi")
    assert ran.status == 1
    (cpu, cpu_seen), (memory, memory_seen) = ran.failed
    assert (cpu, memory) == ("cpu", "memory")
    assert re.fullmatch(r"obi-x: 2\d\.\d\d % of 4 CPUs, not under 5 %, by the metrics server", cpu_seen)
    assert memory_seen == "obi-x: 262 MB, not under 200 MB, by the metrics server"


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        (
            {"daemonsets": {"items": [{"status": {"desiredNumberScheduled": 2}}]}},
            [("pods", "a Ready pod on 1 of 2 eligible nodes")],
        ),
        (
            {"pods": {"items": [pod("obi-x", "n1", is_ready=False)]}},
            [("pods", "a Ready pod on 0 of 1 eligible nodes; obi-x on n1: Running, not ready")],
        ),
        (
            {"pods": {"items": [pod("obi-x", "n1"), pod("obi-y", "n1")]}},
            [("pods", "more than one pod on n1")],
        ),
        (
            {"pods": {"items": [pod("obi-x", "n1", restarts=2, reason="OOMKilled")]}},
            [("restarts", "more than 0: obi-x: 2 (OOMKilled)")],
        ),
    ],
)
def test_pods_that_are_not_as_they_should_be(cluster, changes, failed):
    ran = cluster(**changes)
    assert (ran.status, ran.failed) == (1, failed), ran.err


def test_without_a_daemonset_nothing_is_checked(cluster):
    ran = cluster(daemonsets={"items": []})
    assert ran.status == 3
    assert "no DaemonSet with app=obi in namespace mop-system wants a node" in ran.err
