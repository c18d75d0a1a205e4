"""Network interfaces: those that packets are counted at, and the names of those that rows are keyed by."""

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from obi_core import AttachError, BpfObject

_log = logging.getLogger(__name__)

_READABLE: Final = frozenset({1, 772, 512, 519, 768, 769, 776, 778, 823, 0xFFFE})
"""What has an Ethernet header (ETHER, LOOPBACK) or none (PPP, RAWIP, IP in IP, SIT, GRE, and NONE: TUN, WireGuard).

Source: ARPHRD_* of include/uapi/linux/if_arp.h.
"""


_LOCAL_PORTS: Final = (32768, 60999)


class Chosen:
    """Keeps the tc programs attached at the chosen interfaces, as these come and go.

    Args:
        names: Of interfaces in the agent's own network namespace.
        programs: By direction: `ingress`, `egress`.
        sysfs: Where interfaces are described.
    """

    def __init__(self, names: Iterable[str], programs: Mapping[str, str], sysfs: Path = Path("/sys/class/net")) -> None:
        self._names, self._programs, self._sysfs = tuple(dict.fromkeys(names)), programs, sysfs
        self._attached: dict[str, int] = {}
        self._told: dict[str, str] = {}

    def begin(self, bpf: BpfObject) -> None:
        """Attach at what is there.

        Raises:
            AttachError: The kernel refused one, and not because the interface is missing.
        """
        for name in self._names:
            self._follow(bpf, name, first=True)

    def follow(self, bpf: BpfObject) -> None:
        """Attach at what has come, forget what has gone; a line is logged for each change, and none otherwise."""
        for name in self._names:
            self._follow(bpf, name, first=False)

    def _follow(self, bpf: BpfObject, name: str, *, first: bool) -> None:
        here = self._look(name)
        if name in self._attached and (here is None or here[0] != self._attached[name]):
            del self._attached[name]
            self._detach(bpf, name)
            self._say(name, f"the interface {name} is gone; its packets count again when it is back")
        elif here is None and name not in self._told:
            self._say(name, f"there is no interface {name}; its packets count as soon as it is there")
        if here is None or name in self._attached:
            return
        index, kind = here
        if kind not in _READABLE:
            self._say(name, f"the interface {name} is of type {kind} (ARPHRD_*), which OBI cannot read: it is left out")
            return
        try:
            for way, program in self._programs.items():
                bpf.attach(program, f"{name}:{way}")
        except AttachError as error:
            self._detach(bpf, name)
            if first and error.errno != errno.ENODEV:
                raise
            self._say(name, f"packets of the interface {name} are not counted: {error}")
            return
        self._attached[name] = index
        if self._told.pop(name, None) is not None:
            _log.info("network: packets of the interface %s count now", name)

    def _detach(self, bpf: BpfObject, name: str) -> None:
        for way, program in self._programs.items():
            bpf.detach(program, f"{name}:{way}")

    def _look(self, name: str) -> tuple[int, int] | None:
        try:
            entry = self._sysfs / name
            return int((entry / "ifindex").read_text()), int((entry / "type").read_text())
        except (OSError, ValueError):
            return None

    def _say(self, name: str, text: str) -> None:
        if self._told.get(name) != text:
            self._told[name] = text
            _log.warning("network: %s", text)


class Names:
    """Names of interfaces by network namespace and number.

    Another namespace is read through a process that lives in it; a name once found stays. To find the process all are looked
    at: for all namespaces at once, and never for more than a twentieth of the time, however many are asked for.

    Args:
        proc: Where processes are described.
        clock: Seconds, monotonic.
    """

    def __init__(self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._proc, self._clock = proc, clock
        self._known: dict[tuple[int, int], str] = {}
        self._mine = _namespace(proc / "self")
        self._lives: dict[int, Path] = {}
        self._rest_until = 0.0

    def name(self, netns: int, index: int) -> str:
        """Name an interface; one that cannot be found is called by its number.

        Args:
            netns: Inode of the network namespace; 0: the agent's own.
            index: Its number there.
        """
        found = self._known.get((netns, index))
        if found is None:
            number = f"#{index}"
            found = self._known.setdefault((netns, index), number) if self._learn(netns) else number
        return found

    def _learn(self, netns: int) -> bool:
        """Read the names of a namespace; whether what is not known now is not there."""
        if netns in (0, self._mine):
            self._known.update({(netns, index): name for index, name in socket.if_nameindex()})
            return True
        fresh = netns not in self._lives and self._look()
        if (process := self._lives.get(netns)) is None:
            return fresh
        entries = list(_devices(process / "net"))
        if _namespace(process) != netns:  # it ended meanwhile, and what was read may be another's
            del self._lives[netns]
            return False
        self._known.update({(netns, index): name for index, name in entries})
        return True

    def _look(self) -> bool:
        """Find a process in each namespace; False: it was done a moment ago."""
        began = self._clock()
        if began < self._rest_until:
            return False
        self._lives = {_namespace(process): process for process in self._proc.iterdir() if process.name.isdigit()}
        now = self._clock()
        self._rest_until = now + 19 * (now - began)
        return True


def local_ports(proc: Path = Path("/proc")) -> tuple[int, int]:
    """First and last port that the kernel chooses for clients; the kernel's own default where it does not say."""
    try:
        first, last = (proc / "sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(first), int(last)
    except (OSError, ValueError):
        return _LOCAL_PORTS


def _namespace(process: Path) -> int:
    try:
        return (process / "ns" / "net").stat().st_ino
    except OSError:
        return 0


def _devices(net: Path) -> Iterator[tuple[int, str]]:
    """Read what has a number beside its name: `igmp` has every interface with IPv4, `if_inet6` every one with IPv6."""
    for line in _lines(net / "if_inet6"):
        fields = line.split()
        yield int(fields[1], 16), fields[5]
    for line in _lines(net / "igmp")[1:]:
        if line[:1].isdigit():
            number, _, rest = line.partition("\t")
            yield int(number), rest.split()[0]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
