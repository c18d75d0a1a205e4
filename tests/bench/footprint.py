"""What `obi run` costs in memory and how soon it is ready: `.venv/bin/python tests/bench/footprint.py [--seconds 600]`.

Starts the installed program with its defaults on free ports, waits until `/ready` answers 200, reads its memory (smaps_rollup)
at the start and at the end and its CPU time in between, and stops it. Then adds the imports of the agent one by one in fresh
interpreters, so that a reader sees which of them the memory is. Needs root.
"""

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

OBI = Path(sys.executable).with_name("obi")
STEPS = (
    "ctypes, logging, threading, http.server",
    "pluggy",
    "yaml",
    "pydantic",
    "pydantic_settings",
    "prometheus_client",
    "obi_core.runtime.agent",
    "obi_core.cli.main",
    "obi_plugin_tcp.probe",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def memory_kb(pid: int) -> dict[str, int]:
    """Rss, Pss and private memory of one process, kB."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        found[name.rstrip(":")] = int(value)
    return {"Rss": found["Rss"], "Pss": found["Pss"], "Private": found["Private_Dirty"] + found["Private_Clean"]}


def cpu_seconds(pid: int) -> float:
    """User and system time of one process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def run_agent(seconds: float, extra: list[str]) -> None:
    health, metrics = free_port(), free_port()
    command = [str(OBI), "run", "--http-listen", f"127.0.0.1:{health}", "--metrics-listen", f"127.0.0.1:{metrics}", *extra]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as agent:
        try:
            while not ready(health):
                if agent.poll() is not None:
                    sys.exit(f"obi run ended with status {agent.returncode} before it was ready")
                time.sleep(0.005)
            print(f"start to ready: {time.monotonic() - began:.2f} s")
            print(f"memory when ready, kB: {memory_kb(agent.pid)}")
            spent = cpu_seconds(agent.pid)
            time.sleep(seconds)
            share = (cpu_seconds(agent.pid) - spent) / seconds
            print(f"memory after {seconds:.0f} s, kB: {memory_kb(agent.pid)}")
            print(f"CPU over {seconds:.0f} s: {100 * share:.3f} % of one core")
        finally:
            agent.send_signal(signal.SIGTERM)


def imports() -> None:
    """RSS of a fresh interpreter after each step, every step on top of the ones before."""
    print("RSS by import, kB, each on top of the ones before:")
    script, before = "", 0
    for step in ("", *STEPS):
        script += f"import {step}\n" if step else ""
        code = f"{script}\nprint(open('/proc/self/smaps_rollup').read())"
        text = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        rss = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:"))
        print(f"  {rss:7d}  +{rss - before:6d}  {step or 'bare interpreter'}")
        before = rss


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("extra", nargs="*", help="further arguments of `obi run`, after --")
    chosen = parser.parse_args()
    run_agent(chosen.seconds, chosen.extra)
    imports()
