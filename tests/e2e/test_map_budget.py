"""The budget for map memory, as users meet it: in the doctor and in the log of `obi run`."""

import json
import signal

import pytest

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs"))

SMALL = {"OBI_BUDGETS__MAP_MEMORY": "1MiB"}
QUIET = ("--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")


def test_the_doctor_prints_the_planned_bytes_beside_the_budget(obi):
    done = obi("doctor", "--plugins", "tcp")
    [line] = [line for line in done.stdout.splitlines() if line.startswith("tcp ")]
    assert ", maps " in line
    assert line.endswith("MiB of 64 MiB")


def test_maps_over_the_budget_are_scaled_down_and_the_doctor_says_degraded(obi):
    done = obi("doctor", "--json", "--plugins", "tcp", **SMALL)
    [tcp] = json.loads(done.stdout)["probes"]
    assert (done.returncode, tcp["support"]) == (1, "degraded")
    memory = tcp["map_memory"]
    assert memory["planned"] <= memory["budget"] == 1 << 20 < memory["asked"]
    assert sum(memory["maps"].values()) == memory["planned"]
    assert any(lost.startswith("map tcp_sockets: ") and lost.endswith(" of 16384 entries") for lost in tcp["loses"])
    assert "were scaled down to " in tcp["modes"][0]["detail"]


def test_without_scaling_the_modes_are_refused_with_numbers_and_keys(obi):
    done = obi("doctor", "--json", "--plugins", "tcp", OBI_BUDGETS__SCALE_MAPS="false", **SMALL)
    [tcp] = json.loads(done.stdout)["probes"]
    refused = [mode for mode in tcp["modes"] if mode["reason"] == "over_budget"]
    assert {"tp_btf", "tracepoint"} <= {mode["name"] for mode in refused}
    for mode in refused:
        assert "budgets.map_memory allows 1 MiB for the probe: raise it, lower tcp.max_sockets, " in mode["detail"]
        assert mode["detail"].endswith("or set budgets.scale_maps: true")


def test_a_running_agent_warns_with_the_numbers(start_obi):
    process = start_obi("run", "--plugins", "tcp", "--view", "off", *QUIET, **SMALL)
    line = next(line for line in process.stderr if "attached" in line)
    assert "WARNING" in line.upper()
    assert "degraded" in line
    assert "its maps would take " in line
    assert "since budgets.map_memory allows 1 MiB: raise that, or ask for less" in line
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
