"""Rows of the view `processes`. Pure."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from obi_core import OwnerRecord, Row, owner
from obi_plugin_network.catalogue import PROCESSES_VIEW
from obi_plugin_network.readers import Sums


class Process(Protocol):
    """`struct network_process`."""

    received: Sums
    sent: Sums


def process_rows(rows: Iterable[tuple[OwnerRecord, Process]]) -> Iterator[Row]:
    """Make the view `processes`.

    Args:
        rows: `(struct obi_owner, struct network_process)` from map `network_processes`, weighted by the sampling factor; since
            somebody looks.
    """
    for who, process in rows:
        received, sent = process.received, process.sent
        cells = (received.bytes, sent.bytes, received.packets, sent.packets)
        yield Row(PROCESSES_VIEW, (who.tgid, who.start_ns), owner(who), cells)
