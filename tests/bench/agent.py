"""The installed agent, started for a measurement on free ports and stopped after it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

OBI = Path(sys.executable).with_name("obi")
_READY_S = 60.0
_UNSHED = {"OBI_BUDGETS__ENFORCE": "false"}
"""A probe that is made to cost less in the middle of a measurement would make its figures too good."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that is ready."""

    pid: int
    ready_s: float
    """From its start until `/ready` says that every probe runs."""


@contextmanager
def agent(extra: Sequence[str] = ()) -> Iterator[Agent]:
    """Run `obi run --view off` with its defaults and `extra`, and hand it over when it is ready; no budget is enforced."""
    health, metrics = _free_ports(2)
    command = [str(OBI), "run", "--view", "off", "--log-level", "warning"]
    command += ["--http-listen", f"127.0.0.1:{health}", "--metrics-listen", f"127.0.0.1:{metrics}", *extra]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **_UNSHED}) as process:
        try:
            while not _ready(health):
                if process.poll() is not None:
                    sys.exit(f"bench: {' '.join(command)} ended with status {process.returncode} before it was ready")
                if time.monotonic() - began > _READY_S:
                    sys.exit(f"bench: {' '.join(command)} was not ready within {_READY_S:.0f} s")
                time.sleep(0.005)
            yield Agent(process.pid, time.monotonic() - began)
        finally:
            process.send_signal(signal.SIGTERM)


def probes() -> list[str]:
    """Names of the probes that `obi run` would run; at least one."""
    done = subprocess.run([str(OBI), "plugins", "list", "--json"], check=False, stdout=subprocess.PIPE, text=True)
    names = [] if done.returncode else [each["name"] for each in json.loads(done.stdout)["plugins"] if each["enabled"]]
    return names or sys.exit("bench: no probe would run: `obi plugins list` says why")


def _free_ports(number: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        states = {probe["state"] for probe in json.loads(answer.read()).get("probes", {}).values()}
    except (OSError, ValueError):
        return False
    else:
        return answer.status == 200 and states == {"attached"}
    finally:
        connection.close()
