"""Every panel of every dashboard answers from real stores, after a workload that has a bit of everything.

One agent sends to VictoriaMetrics over OTLP (resource attributes are labels, `vmrange` buckets) and is scraped by Prometheus
(`job` and `instance` and no resource, `le` buckets), so both ways in which stores keep nodes apart are taken.
"""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from obi_core.cgroups import Cgroups

pytestmark = [
    pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2")),
    pytest.mark.timeout(120),
]

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dashboards").glob("obi-*.json"))
CLUSTER, NODE = "obi-test", "node-1"
WINDOW = "30s"
NO_KUBERNETES = "there is no API server here"
EMPTY = {
    "obi-health: Is what is known of the cluster out of date?": NO_KUBERNETES,
    "obi-health: Does the API server answer?": NO_KUBERNETES,
    "obi-health: How many pods are known?": NO_KUBERNETES,
    "obi-validation: Which nodes have gone silent?": "the node that there is reports",
}
"""Panels that are rightly empty, and why."""
EMPTY_IF_ALL_IS_WELL = {
    "obi-health: Where was something lost, and why?": "causes have no series before the first loss, and the workload has none",
    "obi-network: How many packets contradict themselves?": "the workload sends only sound packets",
}
"""Panels that have data only if somebody else on this machine does what the workload does not."""


def panels():
    for file in FILES:
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{board['uid']}: {panel['title']}", target["expr"]


def filled(expression, *, node=NODE):
    values = {
        "$__rate_interval": WINDOW,
        "$cluster": CLUSTER,
        "$node": node,
        "$namespace": ".*",
        "${workload:raw}": 'k8s_pod_name=~".*"',
    }
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def ask(address, query):
    """Series with a value that is a number."""
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        found = json.load(answer)["data"]["result"]
    return [each["metric"] for each in found if not math.isnan(float(each["value"][1]))]


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


@pytest.fixture(scope="module")
def group():
    """A cgroup with a quota, in every hierarchy that has one of the controllers; its folders."""
    cgroups, name = Cgroups(), f"obi-dashboards-{os.getpid()}"
    limits = {
        "cpu": {"cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "5000", "cpu.max": "5000 50000"},
        "memory": {"memory.limit_in_bytes": "32M", "memory.max": "32M", "memory.memsw.limit_in_bytes": "32M"},
        "pids": {"pids.max": "1"},
    }
    folders = {}
    for controller, files in limits.items():
        root = cgroups.root(controller)
        if cgroups.version(controller) == 2:
            (root / "cgroup.subtree_control").write_text(f"+{controller}")
        folder = root / name
        folder.mkdir(exist_ok=True)
        folders[folder] = None
        for file, value in files.items():
            if (folder / file).exists():
                (folder / file).write_text(value)
    yield tuple(folders)
    for folder in folders:
        until(lambda folder=folder: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """Start Prometheus, which scrapes a port; its address."""
    with contextlib.ExitStack() as stack:

        def start(scraped):
            folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
            config = {
                "global": {"scrape_interval": "3s", "scrape_timeout": "3s"},
                "scrape_configs": [{"job_name": "obi", "static_configs": [{"targets": [f"127.0.0.1:{scraped}"]}]}],
            }
            (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
            words = (f"--config.file={folder}/config.yml", f"--storage.tsdb.path={folder}/data")
            running = subprocess.Popen(
                ["prometheus", *words, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
                stderr=subprocess.DEVNULL,
            )
            stack.callback(running.wait)
            stack.callback(running.kill)
            return f"127.0.0.1:{port}"

        yield start


@pytest.fixture(scope="module")
def stores(store, prometheus, group):
    """Both stores, after the workload."""
    metrics = free_port()
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith(("OBI_", "OTEL_"))},
        "OTEL_RESOURCE_ATTRIBUTES": f"k8s.cluster.name={CLUSTER},k8s.node.name={NODE}",
        "OBI_OTLP_METRICS__ENDPOINT": f"http://{store}/opentelemetry/v1/metrics",
        "OBI_OTLP_METRICS__NAMING": "prometheus",
        "OBI_OTLP_METRICS__INTERVAL_S": "1s",
    }
    ports = ("--http-listen", "127.0.0.1:0", "--metrics-listen", f"127.0.0.1:{metrics}")
    agent = subprocess.Popen(
        [sys.executable, "-m", "obi_core", "run", "--view", "off", "--interval", "1s", *ports],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        scraper = prometheus(metrics)
        attached = 'count(obi_probe_state{state="attached"}) == 4'
        until(lambda: ask(store, attached))
        until(lambda: answers(scraper) and ask(scraper, attached))
        workload = Path(__file__).with_name("dashboard_workload.py")
        name = f"obidash{os.getpid() % 100000}"
        subprocess.run([sys.executable, workload, name, "10", *map(str, group)], check=True, timeout=60)
        seen = f'sum(obi_tcp_connects_total{{process_executable_name="{name}"}}) > 0 and sum(obi_limits_oom_kills_total) > 0'
        until(lambda: ask(store, seen) and ask(scraper, seen))
        yield {"victoria": store, "prometheus": scraper}
    finally:
        agent.send_signal(signal.SIGTERM)
        _, said = agent.communicate(timeout=30)
    assert agent.returncode == 0, said


def answers(address):
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_every_panel_has_data_but_those_that_are_rightly_empty(stores):
    for kind, address in stores.items():
        # A scrape that a busy machine is too slow for leaves gauges without a value until the next.
        left = set(panels())
        end = time.monotonic() + 15
        while time.monotonic() < end and {name for name, _ in left} - EMPTY.keys() - EMPTY_IF_ALL_IS_WELL.keys():
            left = {(name, expression) for name, expression in left if not ask(address, filled(expression))}
        assert (kind, {name for name, _ in left} - EMPTY_IF_ALL_IS_WELL.keys()) == (kind, EMPTY.keys())


def test_a_node_that_is_not_there_has_no_data(stores):
    full = {
        (kind, name)
        for kind, address in stores.items()
        for name, expression in panels()
        if ask(address, filled(expression, node="nobody"))
    }
    assert full == set()
