"""A known workload in the real kernel: a child process with a name of its own does exactly so many things.

What a store must then show of it follows from the plan. Everything happens over loopback, in the caller's network namespace.
"""

import ctypes
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from obi_core.errors import HostError

PREFIX: Final = "known-"
"""What the names of these processes begin with; a run's id follows."""
LONGEST_ID: Final = 8
"""Bytes of a run's id: with the prefix one less than a task's name has, so that nothing takes it for one that was cut off."""
SLOWED_PER_S: Final = 15.0
"""Most of what leaves spans or events, per second: under the `tcp.events_per_s` that ships, with two events per reset."""
_HEADERS: Final = 28
"""Bytes of an IPv4 and a UDP header."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
_ABSENT: Final = "/proc/self/obi-known-is-not-here"
_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what is done, in this order.

    Args:
        connections: TCP connections that are made, accepted and closed.
        refused: TCP connects that nobody listens for.
        resets: TCP connections whose client ends them with a reset.
        calls: System calls (`openat`) that fail with ENOENT.
        datagrams: UDP datagrams, each sent and received.
        size: Bytes in each.
        rate: Deeds per second at most; 0: as fast as it goes. Refused and reset connections never exceed `SLOWED_PER_S`.
    """

    connections: int
    refused: int
    resets: int
    calls: int
    datagrams: int
    size: int
    rate: float

    def seconds(self) -> float:
        """How long it takes at least."""
        slowed = self.refused + self.resets
        quick = self.connections + self.calls + self.datagrams
        pace = min(self.rate or SLOWED_PER_S, SLOWED_PER_S)
        return slowed / pace + (quick / self.rate if self.rate else 0.0)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a store must show of a run, exactly: the sum of a metric's series, or the number of spans or log events.

    Args:
        signal: `metrics`, `traces` or `logs`.
        name: OpenTelemetry name of the metric, name of the span or of the event.
        attributes: Which of them, beside the process's name; an empty value: the attribute is absent.
        value: The sum, or the number.
    """

    signal: str
    name: str
    attributes: Mapping[str, str]
    value: int


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: by which process, when (seconds since 1970), and what follows."""

    process: str
    pid: int
    began_s: float
    ended_s: float
    plan: Plan

    def expected(self) -> list[Expected]:
        """What must be found."""
        plan = self.plan
        role, fails, way, kind = "network.tcp.handshake.role", "error.type", "network.io.direction", "network.transport"
        made = plan.connections + plan.resets
        rows = [
            Expected("metrics", "obi.tcp.connects", {role: "client", fails: ""}, made),
            Expected("metrics", "obi.tcp.connects", {role: "server", fails: ""}, made),
            Expected("metrics", "obi.tcp.connects", {role: "client", fails: "refused"}, plan.refused),
            Expected("metrics", "obi.tcp.resets", {way: "transmit"}, plan.resets),
            Expected("metrics", "obi.syscall.errors", {"process.syscall.name": "openat", fails: "ENOENT"}, plan.calls),
        ]
        for direction in ("transmit", "receive"):
            where = {way: direction, kind: "udp"}
            rows.append(Expected("metrics", "obi.network.packets", where, plan.datagrams))
            rows.append(Expected("metrics", "obi.network.io", where, plan.datagrams * (plan.size + _HEADERS)))
        rows.append(Expected("traces", "tcp connect", {fails: "refused"}, plan.refused))
        rows.append(Expected("logs", "obi.tcp.reset", {way: "transmit"}, plan.resets))
        return [row for row in rows if row.value]

    def document(self) -> dict[str, object]:
        """All of it, for JSON."""
        times = {"began_s": self.began_s, "ended_s": self.ended_s}
        return {
            "process": self.process,
            "pid": self.pid,
            **times,
            "did": asdict(self.plan),
            "expected": [asdict(row) for row in self.expected()],
        }


def carry_out(plan: Plan, run_id: str) -> Done:
    """Do it in a child process and wait for its end.

    Args:
        plan: What.
        run_id: Of at most `LONGEST_ID` ASCII characters.

    Raises:
        HostError: The kernel did not let it, or the child was killed.
    """
    process = f"{PREFIX}{run_id}"
    rename = ctypes.CDLL(None, use_errno=True).prctl
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        # nothing of the parent's may run twice: not its buffers, not its handlers
        try:
            os.close(reading)
            rename(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == parent:
                rename(_PR_SET_NAME, process.encode(), 0, 0, 0)
                os.write(writing, json.dumps(_answer(plan)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        told = said.read()
    os.waitpid(pid, 0)
    answer = json.loads(told or b'{"problem": "it was killed"}')
    if "problem" in answer:
        raise HostError(f"the known workload of {process} was not done in full: {answer['problem']}; start another run")
    return Done(process, pid, answer["began_s"], answer["ended_s"], plan)


def _answer(plan: Plan) -> dict[str, object]:
    began_s = time.time()
    try:
        _everything(plan)
    except OSError as err:
        return {"problem": str(err)}
    return {"began_s": began_s, "ended_s": time.time()}


def _everything(plan: Plan) -> None:
    pace = min(plan.rate or SLOWED_PER_S, SLOWED_PER_S)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_PATIENCE_S)
        _repeat(plan.connections, plan.rate, lambda: _connection(server, resets=False))
        _repeat(plan.resets, pace, lambda: _connection(server, resets=True))
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        _repeat(plan.refused, pace, lambda: _refused(deaf.getsockname()))
    _repeat(plan.calls, plan.rate, _failing_call)
    with socket.socket(type=socket.SOCK_DGRAM) as here, socket.socket(type=socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        there.settimeout(_PATIENCE_S)
        here.connect(there.getsockname())
        _repeat(plan.datagrams, plan.rate, lambda: _datagram(here, there, bytes(plan.size)))


def _repeat(times: int, rate: float, deed: Callable[[], None]) -> None:
    began = time.monotonic()
    for number in range(times):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        deed()


def _connection(server: socket.socket, *, resets: bool) -> None:
    with socket.create_connection(server.getsockname(), _PATIENCE_S) as client:
        accepted = server.accept()[0]
        if resets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            client.close()
    accepted.close()


def _refused(address: tuple[str, int]) -> None:
    # bound and not listening: nobody else can come and listen there
    with socket.socket() as client:
        try:
            client.connect(address)
        except ConnectionRefusedError:
            return
    raise OSError(f"somebody listens at {address[0]}:{address[1]}")


def _failing_call() -> None:
    try:
        os.close(os.open(_ABSENT, os.O_RDONLY))
    except FileNotFoundError:
        return
    raise OSError(f"{_ABSENT} is there")


def _datagram(here: socket.socket, there: socket.socket, payload: bytes) -> None:
    here.send(payload)
    there.recv(len(payload) or 1)
