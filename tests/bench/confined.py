"""The agent in a pod's place: 200 MB of memory, 5 % of the node's CPU, and a load that goes on.

    .venv/bin/python tests/bench/confined.py [--seconds 600] [--memory 200000000] [--cpu 0.05] [--json FILE]

Agent, maps and each `obi health` and `obi doctor` that is run beside it share one memory cgroup and one CPU quota; the load is
outside: a second's worth of system calls, connections and bytes once a second, with known numbers. Prints what the agent
counted of them, what it says it lost or gave up, and what the cgroup saw. Ends with status 1 if the agent died or a number is
neither right nor accounted for. Needs root.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from agent import OBI, _free_ports
from confinement import Confinement, Usage, confined
from prometheus_client.parser import text_string_to_metric_families
from workload import Workload

A_SECOND = {"getppid": 200_000, "pipe": 27_000, "churn": 500, "request": 5_000, "bulk": 1_000}
"""About 0.31 M calls, 500 connections, 64 MB."""
READY_S = 120.0
SETTLE_S = 60.0
Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class Found:
    """What came of it."""

    ready_s: float
    seconds: float = 0.0
    expected: dict[str, int] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)
    lost: dict[str, float] = field(default_factory=dict)
    """Events that the probes say were lost, by probe."""
    sheds: dict[str, list[str]] = field(default_factory=dict)
    restarts: float = 0
    alive: int = 0
    """Times that `obi health`, run inside, said yes."""
    asked: int = 0
    doctor: list[int] = field(default_factory=list)
    """Exit status of each `obi doctor`, run inside."""
    resident: float = 0.0
    usage: Usage | None = None
    status: int = -1
    """Exit status of the agent."""

    @property
    def right(self) -> bool:
        """Whether the agent lived, and every number is right or accounted for by a loss."""
        lost = sum(self.lost.values())
        near = all(0 <= number - self.counted[name] <= lost for name, number in self.expected.items())
        return (
            near and self.status == 0 and self.alive == self.asked > 0 and self.usage is not None and not self.usage.oom_kills
        )


class Bench:
    """One run.

    Args:
        folder: For the workload's program.
        walls: Where the agent lives.
        doctor_every_s: How often `obi doctor` runs beside it; 0: never.
        scale: Factor on the load.
    """

    def __init__(self, folder: Path, walls: Confinement, doctor_every_s: float, scale: float) -> None:
        self._walls, self._doctor_every_s = walls, doctor_every_s
        self._load = {name: max(1, int(number * scale)) for name, number in A_SECOND.items()}
        built = Workload(folder, 1)
        self._name = f"obiconf{os.getpid() % 10_000_000}"
        self._program = Path(shutil.copy(folder / "workload", folder / self._name))
        self._cpu = built.cpu
        self._health, self._metrics = _free_ports(2)
        self._done: Counter[str] = Counter()

    def run(self, seconds: float) -> Found:
        """Start the agent, load the node for so long, and read what it says."""
        began = time.monotonic()
        with subprocess.Popen(self._walls.command(self._agent()), env=self._environment(), stdout=subprocess.DEVNULL) as agent:
            try:
                self._wait_ready(agent)
                found = Found(ready_s=time.monotonic() - began)
                self._go_on(found, agent, seconds)
                self._read(found)
            finally:
                agent.send_signal(signal.SIGTERM)
                status = agent.wait(60)
        found.status, found.usage = status, self._walls.usage()
        return found

    def _agent(self) -> list[str]:
        ports = ("--http-listen", f"127.0.0.1:{self._health}", "--metrics-listen", f"127.0.0.1:{self._metrics}")
        return [str(OBI), "run", "--view", "off", "--log-level", "warning", *ports]

    def _environment(self) -> dict[str, str]:
        own = {
            "OBI_SYSCALL__CALLS": "file,network,process,memory,getppid",
            # of a pod that may use a twentieth of its node: each step takes twenty times as long
            "OBI_AGENT__STEP_DEADLINE_S": "120s",
            "OBI_AGENT__COLLECT_DEADLINE_S": "60s",
            "OBI_AGENT__SHUTDOWN_DEADLINE_S": "30s",
        }
        return {**os.environ, **own}

    def _wait_ready(self, agent: "subprocess.Popen[bytes]") -> None:
        until = time.monotonic() + READY_S
        while self._states() != {"attached"}:
            if agent.poll() is not None or time.monotonic() > until:
                sys.exit(f"confined: the agent was not ready within {READY_S:g} s (status {agent.poll()})")
            time.sleep(0.2)

    def _states(self) -> set[str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/ready", timeout=30) as answer:
                return {probe["state"] for probe in json.load(answer)["probes"].values()}
        except OSError:
            return set()

    def _go_on(self, found: Found, agent: "subprocess.Popen[bytes]", seconds: float) -> None:
        began = due = time.monotonic()
        asked = doctor = began
        beside: list[tuple[str, subprocess.Popen[bytes]]] = []
        while (now := time.monotonic()) - began < seconds and agent.poll() is None:
            self._burst()
            if now >= asked:
                asked = now + 20
                beside.append(("health", self._inside("health", "--ready", "--http-listen", f"127.0.0.1:{self._health}")))
            if self._doctor_every_s and now >= doctor:
                doctor = now + self._doctor_every_s
                beside.append(("doctor", self._inside("doctor", "--preflight")))
            due += 1
            time.sleep(max(0.0, due - time.monotonic()))
        found.seconds = time.monotonic() - began
        for what, process in beside:
            status = process.wait(120)
            if what == "doctor":
                found.doctor.append(status)
            else:
                found.asked, found.alive = found.asked + 1, found.alive + (status == 0)

    def _burst(self) -> None:
        words = [str(word) for name, number in self._load.items() for word in (name, number)]
        subprocess.run([self._program, str(self._cpu), "0", *words], check=True, stdout=subprocess.DEVNULL)
        self._done.update(self._load)
        self._done["bursts"] += 1

    def _inside(self, *words: str) -> "subprocess.Popen[bytes]":
        command = self._walls.command([str(OBI), *words])
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _read(self, found: Found) -> None:
        # request and bulk have a connection each
        connects = self._done["churn"] + 2 * self._done["bursts"]
        wanted: dict[str, tuple[int, Key]] = {
            "connects": (connects, ("obi_tcp_connects_total", (("network_tcp_handshake_role", "client"),))),
            "accepts": (connects, ("obi_tcp_connects_total", (("network_tcp_handshake_role", "server"),))),
            "calls of getppid": (self._done["getppid"], ("obi_syscall_calls_total", (("process_syscall_name", "getppid"),))),
            "calls of connect": (connects, ("obi_syscall_calls_total", (("process_syscall_name", "connect"),))),
        }
        found.expected = {name: number for name, (number, _) in wanted.items()}
        until = time.monotonic() + SETTLE_S
        while True:
            samples = self._scrape()
            found.counted = {name: self._sum(samples, *key) for name, (_, key) in wanted.items()}
            if found.counted == found.expected or time.monotonic() > until:
                break
            time.sleep(2)
        for sample in samples:
            name, labels, value = sample
            if name == "obi_probe_events_total" and labels["outcome"] == "lost":
                found.lost[labels["probe"]] = value
            found.restarts += value if name == "obi_probe_restarts_total" else 0
            found.resident = value if name == "obi_process_resident_memory_bytes" else found.resident
        with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/ready", timeout=30) as answer:
            probes = json.load(answer)["probes"]
        found.sheds = {name: probe["sheds"]["steps"] for name, probe in probes.items() if "sheds" in probe}

    def _scrape(self) -> list[tuple[str, dict[str, str], float]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        return [(s.name, s.labels, s.value) for family in text_string_to_metric_families(text) for s in family.samples]

    def _sum(self, samples: list[tuple[str, dict[str, str], float]], name: str, labels: tuple[tuple[str, str], ...]) -> float:
        own = {*labels, ("process_executable_name", self._name)}
        return sum(value for found, has, value in samples if found == name and own <= set(has.items()))


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--memory", type=int, default=200_000_000, help="bytes (default: 200000000)")
    parser.add_argument("--cpu", type=float, default=0.05, help="share of this node's CPUs (default: 0.05)")
    parser.add_argument("--scale", type=float, default=1, help="factor on the load (default: 1)")
    parser.add_argument(
        "--doctor", type=float, default=200, help="run the doctor beside it so often, s; 0: never (default: 200)"
    )
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    chosen = parser.parse_args()
    cpus = chosen.cpu * (os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix="obi-confined-") as folder, confined(chosen.memory, cpus) as walls:
        found = Bench(Path(folder), walls, chosen.doctor, chosen.scale).run(chosen.seconds)
    for name, value in asdict(found).items():
        print(f"{name}: {value}")
    print("right" if found.right else "WRONG")
    if chosen.json:
        chosen.json.write_text(json.dumps({**asdict(found), "right": found.right}, indent=2) + "\n")
    sys.exit(not found.right)


if __name__ == "__main__":
    main()
