"""A real agent that may load programs and may not have their run time measured: it says so, and bounds the rest."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

pytestmark = pytest.mark.kernel(
    needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "cap:sys_admin", "btf", "tracefs", "root", "cmd:setpriv")
)
DROP = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


@pytest.mark.parametrize("prefix", [DROP, ()], ids=["without_sys_admin", "with_all"])
def test_what_programs_cost_is_measured_or_said_to_be_unknown_and_why(prefix, port):
    quick = {"OBI_BUDGETS__MEASURE_S": "200ms", "OBI_BUDGETS__MEASURE_EVERY_S": "1s", "OBI_BUDGETS__ENFORCE": "false"}
    words = ("--plugins", "tcp", "--view", "off", "--http-listen", f"127.0.0.1:{port}", "--metrics-listen", "127.0.0.1:0")
    command = [*prefix, sys.executable, "-m", "obi_core", "run", *words]
    agent = subprocess.Popen(
        command, env={**os.environ, **quick}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        while not (budgets := status(agent, port)).get("probes"):
            time.sleep(0.1)
    finally:
        agent.send_signal(signal.SIGTERM)
        _, said = agent.communicate(timeout=20)
    assert agent.returncode == 0, said
    tcp = budgets["probes"]["tcp"]
    assert tcp["map_bytes"] > 1_000_000
    assert tcp["user_cpus"] >= 0
    unknown = "what probes cost in the kernel is not known, and not bounded: BPF_ENABLE_STATS [EPERM]: it needs CAP_SYS_ADMIN;"
    if prefix:
        assert budgets["kernel_cost"].startswith(
            "BPF_ENABLE_STATS [EPERM]: it needs CAP_SYS_ADMIN; sysctl kernel.bpf_stats_enabled=1"
        )
        assert (tcp["kernel_cpus"], tcp["programs"]) == (None, {})
        assert said.count(unknown) == 1
    else:
        assert budgets["kernel_cost"] == "measured"
        assert tcp["kernel_cpus"] >= 0
        assert "tcp_state_btf" in tcp["programs"]
        assert unknown not in said


def status(agent, port):
    """What /status says of budgets; nothing before it is there, and measured."""
    assert agent.poll() is None, agent.communicate()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
            return json.load(answer)["budgets"]
    except OSError:
        return {}
