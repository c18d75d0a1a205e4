"""Who is who, wired: the core's resolvers as the settings want them, and the watch behind them."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from obi_core.bus.own import own_metric
from obi_core.cgroups import Cgroups
from obi_core.host import Host
from obi_core.identity import CgroupResolver, ProcessResolver, Tracking
from obi_core.identity.kubernetes import Api, Cluster, KubernetesResolver
from obi_core.identity.kubernetes.cluster import node_name
from obi_core.identity.tracking import EXEC, MKDIR
from obi_core.kernel.base import Loader, MapStats, ProgramStats
from obi_core.model import Kind, Metric, Owner
from obi_core.resolver import Resolver, Subject
from obi_core.settings import CoreSettings, KubernetesSettings

_log: Final = logging.getLogger("obi.identity")


class Identity:
    """The core's resolver. What it has learnt of cgroups and pods outlives a change of settings.

    Args:
        host: This node.
        environ: Where Kubernetes says where its API is.
        settings: All core sections.
        loader: Gives what loads the programs that note names.
    """

    def __init__(self, host: Host, environ: Mapping[str, str], settings: CoreSettings, loader: Callable[[], Loader]) -> None:
        self._host, self._environ, self._loader = host, environ, loader
        self._tracking = Tracking(settings.identity)
        self._started_ns = time.time_ns()
        self._cluster: Cluster | None = None
        self._settings: CoreSettings | None = None
        self._chain: tuple[Resolver, ...] = ()
        self.follow(settings)

    def follow(self, settings: CoreSettings) -> None:
        """Resolve as these settings want it from now on."""
        before, self._settings = self._settings, settings
        metrics, kubernetes = settings.metrics, settings.kubernetes
        if before is not None and (before.metrics, before.kubernetes, before.identity) == (
            metrics,
            kubernetes,
            settings.identity,
        ):
            return
        if before is None or before.identity != settings.identity:
            self._tracking.close()
            self._tracking = Tracking(settings.identity)
            self._tracking.open(self._loader(), self._host)
        if before is None or before.kubernetes != kubernetes:
            self._watch(kubernetes)
        cgroups = CgroupResolver(Cgroups(self._host), pod_uid=metrics.pod_uid, noted=self._tracking.path)
        chain: list[Resolver] = [cgroups]
        if self._cluster is not None:
            chain.append(KubernetesResolver(self._cluster, cgroups.place, image=kubernetes.image))
        chain.append(ProcessResolver(self._host, process_pid=metrics.process_pid, noted=self._tracking.name))
        self._chain = tuple(chain)

    def resolve(self, owner: Owner) -> Subject:
        """Describe `owner` from what all know now."""
        subject = Subject({})
        for resolver in self._chain:
            subject = subject.joined(resolver.resolve(owner))
        return subject

    def details(self, owner: Owner) -> Mapping[str, str | int]:
        """Say what one process was: for spans and log events."""
        if not owner.tgid:
            return {}
        found: dict[str, str | int] = {"process.pid": owner.tgid}
        if (noted := self._tracking.execution(owner)) is not None:
            found |= {"process.vpid": noted.vpid, "process.executable.path": noted.path}
            found["process.command_line"] = noted.command_line
        return found

    @property
    def held(self) -> tuple[tuple[ProgramStats, ...], tuple[MapStats, ...]]:
        """Programs and maps of the core's own in the kernel."""
        return self._tracking.held

    def tell(self) -> None:
        """Say what this node does not let us know."""
        self._tracking.tell()

    def peer(self, address: str) -> Mapping[str, str]:
        """Say whose an address is, in Kubernetes; empty: not known."""
        cluster = self._cluster
        return cluster.peer(address) if cluster is not None else {}

    def stop(self) -> None:
        """End what runs. After the bus has stopped."""
        self._tracking.close()
        self._unwatch()

    def _unwatch(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.stop()

    def own(self) -> Sequence[Metric]:
        """Say what is noted, and how the watches are doing."""
        cluster, now = self._cluster, time.time()
        lost = self._tracking.lost
        noted = own_metric(
            "obi_identity_noted",
            Kind.GAUGE,
            "1 where the kernel notes names, so that what lives for moments is named too.",
            [({"what": what}, int(program.name not in lost)) for what, program in (("exec", EXEC), ("cgroup", MKDIR))],
        )
        if cluster is None:
            return (noted,)

        def metric(name: str, kind: Kind, text: str, readings: Sequence[tuple[Mapping[str, str], float]]) -> Metric:
            return own_metric(
                f"obi_kubernetes_{name}", kind, text, readings, start_ns=self._started_ns, time_ns=time.time_ns()
            )

        contacts = sorted(cluster.contacts().items())
        failures: list[tuple[Mapping[str, str], float]] = [
            ({"resource": name, "reason": reason}, number)
            for name, contact in contacts
            for reason, number in sorted({"unreachable": 0, "gone": 0, **contact.failures}.items())
        ]
        running = cluster.pods.running
        pods = [({"state": "running"}, running), ({"state": "ended"}, max(0, len(cluster.pods) - running))]
        return (
            noted,
            metric("pods", Kind.GAUGE, "Pods known.", pods),
            metric(
                "stale",
                Kind.GAUGE,
                "1 where what is known may be out of date: the API server is away.",
                [({"resource": name}, int(contact.stale(now))) for name, contact in contacts],
            ),
            metric("events_total", Kind.COUNTER, "Watch events taken.", [({"resource": n}, c.events) for n, c in contacts]),
            metric("lists_total", Kind.COUNTER, "Lists read whole.", [({"resource": n}, c.resyncs) for n, c in contacts]),
            metric("failures_total", Kind.COUNTER, "Requests that failed, by reason.", failures),
            metric(
                "last_contact_timestamp_seconds",
                Kind.GAUGE,
                "Last word from the API server, in seconds since 1970.",
                [({"resource": name}, contact.last_s) for name, contact in contacts],
            ),
        )

    def _watch(self, settings: KubernetesSettings) -> None:
        self._unwatch()
        api = Api.found(settings, self._environ)
        if api is not None:
            self._cluster = Cluster(api, node_name(settings, self._environ), settings)
            self._cluster.start()
        elif settings.enabled == "on":
            _log.warning("kubernetes.enabled is on, but nothing says where the API is; set kubernetes.api")
