"""Whose an address is, cluster-wide: small rows, because there are many. Only with `kubernetes.peers`."""

from collections.abc import Mapping
from threading import Lock
from typing import Any

from obi_core.identity.kubernetes.objects import Pod
from obi_core.identity.kubernetes.table import claims, plain


class _Kind:
    """Addresses of one kind of object; implements `watch.Listener`."""

    def __init__(self, most: int, lock: Lock) -> None:
        self._most, self._lock = most, lock
        self._names: dict[str, tuple[str, Mapping[str, str]]] = {}
        self._of: dict[str, tuple[str, ...]] = {}
        self.refused = 0

    def at(self, address: str) -> Mapping[str, str] | None:
        with self._lock:
            return self._names[address][1] if address in self._names else None

    def put(self, found: dict[str, Any]) -> str:
        uid, addresses, names = self.read(found)
        if uid:
            self._file(uid, addresses, names)
        return uid

    def put_pod(self, pod: Pod) -> None:
        self._file(pod.uid, pod.addresses, pod.attributes, finished=pod.finished)

    def end(self, found: dict[str, Any]) -> None:
        self.end_uid(self.read(found)[0])

    def end_uid(self, uid: str) -> None:
        with self._lock:
            for address in self._of.pop(uid, ()):
                # another may have it by now
                if self._names.get(address, ("",))[0] == uid:
                    del self._names[address]

    def only(self, uids: set[str]) -> None:
        for uid in [uid for uid in list(self._of) if uid not in uids]:
            self.end_uid(uid)

    def _holder(self, address: str) -> str | None:
        return self._names[address][0] if address in self._names else None

    def read(self, found: dict[str, Any]) -> tuple[str, tuple[str, ...], Mapping[str, str]]:
        """Give uid, addresses and attributes."""
        raise NotImplementedError

    def _file(self, uid: str, addresses: tuple[str, ...], names: Mapping[str, str], *, finished: bool = False) -> None:
        written = tuple(map(plain, addresses))
        claimed = claims(uid, written, self._of.get(uid, ()), self._holder, finished=finished)
        self.end_uid(uid)
        with self._lock:
            if len(self._of) >= self._most:
                self.refused += 1
                return
            self._of[uid] = written
            for address in claimed:
                self._names[address] = (uid, names)


class _Pods(_Kind):
    """Pods of other nodes; filed by whoever reads pods."""


class _Services(_Kind):
    def read(self, found: dict[str, Any]) -> tuple[str, tuple[str, ...], Mapping[str, str]]:
        metadata, spec = found.get("metadata") or {}, found.get("spec") or {}
        given = spec.get("clusterIPs") or [spec.get("clusterIP")]
        addresses = tuple(each for each in given if isinstance(each, str) and each not in ("", "None"))
        names = {"k8s.namespace.name": str(metadata.get("namespace")), "k8s.service.name": str(metadata.get("name"))}
        return str(metadata.get("uid") or ""), addresses, names


class _Nodes(_Kind):
    def read(self, found: dict[str, Any]) -> tuple[str, tuple[str, ...], Mapping[str, str]]:
        metadata, status = found.get("metadata") or {}, found.get("status") or {}
        given = [each for each in status.get("addresses") or () if isinstance(each, dict)]
        addresses = tuple(str(each.get("address")) for each in given if str(each.get("type")).endswith("IP"))
        return str(metadata.get("uid") or ""), addresses, {"k8s.node.name": str(metadata.get("name"))}


class Addresses:
    """All of them.

    Args:
        most: Objects of one kind.
    """

    def __init__(self, most: int) -> None:
        lock = Lock()
        self.pods, self.services, self.nodes = _Pods(most, lock), _Services(most, lock), _Nodes(most, lock)

    def at(self, address: str) -> Mapping[str, str]:
        """Say who has an address; empty: nobody we know."""
        written = plain(address)
        for kind in (self.pods, self.services, self.nodes):
            if (names := kind.at(written)) is not None:
                return names
        return {}
