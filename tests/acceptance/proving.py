"""How the scripts of tests/obi are run: a real agent, the stores that it exports to, and the scripts as users start them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stand_ins import Loki, Tempo

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
QUICK = ("--interval", "1s", "--max-cpu", "1000", "--max-memory", "2000", "--json")
"""What an agent costs is no matter here: the machine may be busy."""


@dataclass(frozen=True)
class Ran:
    """How a script ended."""

    status: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)

    @property
    def failed(self):
        """Name and what was seen of each check that failed."""
        return [(check["name"], check["seen"]) for check in self.document["checks"] if not check["ok"]]


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def script(name, *flags, path=None, **environ):
    """Run a script of tests/obi to its end."""
    clean = {key: text for key, text in os.environ.items() if not key.startswith(("OBI_", "OTEL_"))}
    clean |= {"OBI_POLL": "0.2", "OBI_WAIT": "1s", "PATH": path or f"{ROOT}/.venv/bin:{os.environ['PATH']}", **environ}
    done = subprocess.run(
        [ROOT / "tests/obi" / name, *map(str, flags)], env=clean, capture_output=True, text=True, check=False, timeout=110
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def until(true, what):
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def answers(url):
    try:
        return bool(fetch(url))
    except OSError:
        return False


@contextmanager
def victoria(program, data, log, *flags):
    """VictoriaMetrics over a folder; gives its address."""
    (port,) = free_ports(1)
    words = (f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", "-search.latencyOffset=0s")
    with log.open("a") as said:
        process = subprocess.Popen([program, *words, "-memory.allowedBytes=64MB", *flags], stderr=said)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"), "VictoriaMetrics does not come up")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True)
class Live:
    """An agent that exports to three stores."""

    agent: subprocess.Popen
    health: int
    metrics: int
    victoria: str
    data: Path
    tempo: Tempo
    loki: Loki

    @property
    def urls(self):
        return {"OBI_METRICS_URL": self.victoria, "OBI_TRACES_URL": self.tempo.url, "OBI_LOGS_URL": self.loki.url}

    @property
    def agents(self):
        return {"OBI_AGENTS": "127.0.0.1", "OBI_HEALTH_PORT": str(self.health), "OBI_METRICS_PORT": str(self.metrics)}


@contextmanager
def running(program, folder, *flags, naming="prometheus"):
    """The agent and its stores, from the moment that all probes run and each store has something."""
    metrics, health = free_ports(2)
    with victoria(program, folder / "data", folder / "log", *flags) as store, Tempo() as tempo, Loki() as loki:
        own = {key: text for key, text in os.environ.items() if not key.startswith(("OBI_", "OTEL_"))}
        own |= {
            "OBI_METRICS__BIND_GRACE_S": "1s",
            "OBI_OTLP__INTERVAL_S": "1s",
            "OBI_OTLP__BATCH_AGE_S": "300ms",
            "OBI_OTLP_METRICS__ENDPOINT": f"{store}/opentelemetry/v1/metrics",
            "OBI_OTLP_METRICS__NAMING": naming,
            "OBI_OTLP_TRACES__ENDPOINT": f"http://{tempo.receiver.http}",
            "OBI_OTLP_LOGS__ENDPOINT": f"http://{loki.receiver.http}",
        }
        listen = ("--http-listen", f"127.0.0.1:{health}", "--metrics-listen", f"127.0.0.1:{metrics}")
        command = [sys.executable, "-m", "obi_core", "run", "--view", "off", "--interval", "500ms", *listen]
        with (folder / "agent").open("w") as said:
            agent = subprocess.Popen(command, cwd=ROOT, env=own, stdout=subprocess.DEVNULL, stderr=said)
        try:
            until(lambda: attached(health) == 4, "the probes do not attach")
            everything = Live(agent, health, metrics, store, folder / "data", tempo, loki)
            known(everything)
            yield everything
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(30)


def attached(port):
    try:
        return fetch(f"http://127.0.0.1:{port}/ready").count(b'"attached"')
    except OSError:
        return 0


def known(everything):
    """Do something that each probe counts, and see it arrive."""
    run = [sys.executable, "-m", "obi_core", "emit-known", "--run-id", "seed", "--refused", "3", "--resets", "3"]
    subprocess.run(run, cwd=ROOT, check=True, capture_output=True, timeout=60)
    tempo, loki = everything.tempo.receiver, everything.loki.receiver
    tempo.wait(lambda: {"tcp connect", "obi collect"} <= {span.name for span in tempo.spans()}, PATIENCE_S)
    loki.wait(lambda: any(record.event_name == "obi.tcp.reset" for record in loki.logs()), PATIENCE_S)
    for of_seed in ('obi_probe_state{state="attached"}', 'obi_network_packets_total{process_executable_name="known-seed"}'):
        question = f"{everything.victoria}/api/v1/query?{urllib.parse.urlencode({'query': of_seed})}"
        until(lambda question=question: json.loads(fetch(question))["data"]["result"], f"{of_seed} does not arrive")


def send(url, data=b""):
    with urllib.request.urlopen(urllib.request.Request(url, data=data, method="POST"), timeout=20) as answer:
        assert answer.status == 204


def delete(url, series):
    send(f"{url}/api/v1/admin/tsdb/delete_series?{urllib.parse.urlencode({'match[]': series})}")
