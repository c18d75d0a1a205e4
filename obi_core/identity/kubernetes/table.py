"""The pods that are known, bounded in number; those that are gone stay for a while. Safe from any thread."""

import ipaddress
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from threading import Lock

from obi_core.identity.kubernetes.objects import Pod


class PodTable:
    """Pods by uid and by address.

    Args:
        most: Pods kept; of more, those that ended first go.
        ended_s: How long a pod that is gone is remembered, s.
        clock: s, monotonic.
    """

    def __init__(self, most: int, ended_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._ended_s, self._clock = most, ended_s, clock
        self._lock = Lock()
        self._pods: dict[str, Pod] = {}
        self._aliases: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._ended: dict[str, float] = {}
        self.refused = 0
        """Pods that found no room."""

    def __len__(self) -> int:
        return len(self._pods)

    @property
    def running(self) -> int:
        """Pods that are not gone."""
        return len(self._pods) - len(self._ended)

    def put(self, pod: Pod) -> None:
        """Take in the newest state of a pod."""
        with self._lock:
            self._forget_old()
            before = self._pods.get(pod.uid)
            written = tuple(map(plain, pod.addresses))
            claimed = claims(pod.uid, written, before.addresses if before else (), self._addresses.get, finished=pod.finished)
            if before is None and len(self._pods) >= self._most:
                if not self._ended:
                    self.refused += 1
                    return
                self._drop(next(iter(self._ended)))
            elif before is not None:
                # what it had before a restart still names what is on its way
                gone = {number: each for number, each in before.containers.items() if number not in pod.containers}
                if gone and len(pod.containers) + len(gone) <= 64:  # noqa: PLR2004 - a crash loop makes ever more
                    pod = replace(pod, containers={**gone, **pod.containers})
                self._unlink(before)
            self._pods[pod.uid] = pod
            self._ended.pop(pod.uid, None)
            for alias in pod.aliases:
                self._aliases[alias] = pod.uid
            self._addresses.update(dict.fromkeys(claimed, pod.uid))

    def end(self, uid: str) -> None:
        """Note that a pod is gone."""
        with self._lock:
            if uid in self._pods:
                self._ended.setdefault(uid, self._clock())
            self._forget_old()

    def only(self, uids: Iterable[str]) -> None:
        """Note that of all pods there are now these alone."""
        there = set(uids)
        for uid in [uid for uid in list(self._pods) if uid not in there]:
            self.end(uid)

    def pod(self, uid: str) -> Pod | None:
        """Find a pod by its uid, or by what a static pod's cgroup is called."""
        with self._lock:
            return self._pods.get(uid) or self._pods.get(self._aliases.get(uid, ""))

    def at(self, address: str) -> Pod | None:
        """Find the pod that has an address of its own."""
        with self._lock:
            return self._pods.get(self._addresses.get(plain(address), ""))

    def _forget_old(self) -> None:
        now = self._clock()
        while self._ended:
            # in the order of ending
            uid, since = next(iter(self._ended.items()))
            if now - since < self._ended_s:
                break
            self._drop(uid)

    def _drop(self, uid: str) -> None:
        self._ended.pop(uid, None)
        pod = self._pods.pop(uid, None)
        if pod is not None:
            self._unlink(pod)

    def _unlink(self, pod: Pod) -> None:
        for alias in pod.aliases:
            if self._aliases.get(alias) == pod.uid:
                del self._aliases[alias]
        for address in map(plain, pod.addresses):
            # another may have it by now
            if self._addresses.get(address) == pod.uid:
                del self._addresses[address]


def claims(
    uid: str, addresses: Iterable[str], before: Iterable[str], holder: Callable[[str], str | None], *, finished: bool = False
) -> list[str]:
    """Addresses that a state of an object takes: new ones, its own, and free ones.

    What it had before and another has taken since stays with the other, and what has finished takes nothing away.

    Args:
        uid: Of the object.
        addresses: What its state shows, in their one form.
        before: What its state showed before.
        holder: Gives the uid of who has an address.
        finished: Whether it uses none any more.
    """
    shown = set(map(plain, before))
    return [each for each in addresses if holder(each) in {None, uid} or (each not in shown and not finished)]


def plain(address: str) -> str:
    """Write an address in its one shortest form, v4-mapped ones as IPv4; text that is none stays as it is."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
