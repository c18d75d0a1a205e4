"""What 250 pods cost in memory: a process of its own that follows a server, before and after."""

import json
import subprocess
import sys

import pytest

from obi_core.testing.kube import KubeApi, pod

FOLLOW = r"""
import sys
from obi_core.runtime.agent import Agent
from obi_core.settings import KubernetesSettings

def rss():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))

before = rss()
from obi_core.identity.kubernetes import Api, Cluster
settings = KubernetesSettings(api=sys.argv[1], node="n1")
cluster = Cluster(Api.found(settings, {}), "n1", settings)
cluster.start()
print("started", flush=True)
sys.stdin.readline()
import time
while cluster.contacts()["pods"].events < 500:
    time.sleep(0.01)
print(len(cluster.pods), rss() - before, flush=True)
cluster.stop()
"""


@pytest.fixture
def api():
    server = KubeApi()
    yield server
    server.close()


def fat(number):
    """A pod of 5 kB, as a real one is with its managed fields."""
    found = pod(
        f"u{number}", owner=("ReplicaSet", f"web-{number}"), containers={"app": f"{number:064x}"}, ip=f"10.0.0.{number}"
    )
    found["metadata"]["managedFields"] = [{"manager": "kubelet", "fieldsV1": {f"f:{each}": {} for each in range(360)}}]
    assert len(json.dumps(found)) > 5_000
    return found


def test_250_pods_add_less_than_15_megabytes(api):
    for number in range(250):
        api.put(fat(number))
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOW, api.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout.readline() == "started\n"
        api.watched(20)
        for number in range(500):
            api.put(fat(number % 250))
        following.stdin.write("\n")
        following.stdin.flush()
        pods, added_kb = map(int, following.stdout.readline().split())
    assert pods == 250
    assert added_kb < 15_000, "kB"
