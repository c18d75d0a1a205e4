"""What the kernel's own counters say about connects and retransmits, and what they leave open. Pure arithmetic."""

from collections import Counter
from typing import Final

from obi_plugin_tcp.catalogue import OTHER
from obi_plugin_tcp.without_bpf.procfs import Counters

FAST: Final = "fast"
TIMEOUT: Final = "timeout"
TAIL_LOSS_PROBE: Final = "tail_loss_probe"
SYN: Final = "syn"


class Connects:
    """Connects since the first reading.

    A client's outcomes: the kernel counts what was begun (`active_opens`) and what failed (`attempt_fails`, less the servers'
    part `embryonic_resets`); sock_diag lists what is still open (`pending`). The rest succeeded, or was canceled by its
    caller, which no counter tells. The three are read one after the other, so a total may be ahead for a moment: it never
    falls, and waits until the counters have caught up.

    Args:
        first: What to count from.
        pending: Sockets in SYN_SENT then.
    """

    def __init__(self, first: Counters, pending: int) -> None:
        self._first, self._pending = first, pending
        self.succeeded = self.failed = self.accepted = 0

    def take(self, now: Counters, pending: int) -> None:
        """Bring the totals up to date with counters, and with the sockets in SYN_SENT, which are to be read after them."""
        first = self._first
        failed = now.attempt_fails - first.attempt_fails - (now.embryonic_resets - first.embryonic_resets)
        begun = now.active_opens - first.active_opens - (pending - self._pending)
        self.failed = max(self.failed, failed)
        self.succeeded = max(self.succeeded, begun - self.failed)
        self.accepted = now.passive_opens - first.passive_opens


class Retransmits:
    """Segments sent again since the first reading, by type; the types add up to the kernel's sum.

    Of SYN and SYN-ACK together, of duplicate ACKs and of what follows a timeout the kernel counts segments. Of the rest it
    counts causes: timers that ran out (some for a SYN) and tail loss probes (some with a new segment). Each gets as many
    segments as must have been its, whatever the other was; what could be either is `_OTHER`.

    Args:
        first: What to count from.
    """

    def __init__(self, first: Counters) -> None:
        self._last = first
        self._ahead: Counter[str] = Counter()
        self.by_type: Counter[str] = Counter()

    def take(self, now: Counters) -> None:
        """Bring the totals up to date."""
        last, self._last = self._last, now
        rest = now.retransmitted - last.retransmitted
        syn = now.syn_retransmitted - last.syn_retransmitted
        # What was read later than the sum may be ahead of it: that waits for the next reading.
        self._ahead[SYN] += syn
        self._ahead[FAST] += now.fast_retransmitted - last.fast_retransmitted
        self._ahead[TIMEOUT] += now.slow_start_retransmitted - last.slow_start_retransmitted
        for name in (SYN, FAST, TIMEOUT):
            rest -= self._give(name, min(self._ahead[name], rest))

        timeouts, probes = now.timeouts - last.timeouts, now.loss_probes - last.loss_probes
        first_after_timeout = min(rest, timeouts, max(0, timeouts - syn, rest - probes))
        probed = min(rest - first_after_timeout, probes, max(0, rest - timeouts))
        self.by_type[TIMEOUT] += first_after_timeout
        self.by_type[TAIL_LOSS_PROBE] += probed
        self.by_type[OTHER] += rest - first_after_timeout - probed

    def _give(self, name: str, segments: int) -> int:
        self._ahead[name] -= segments
        self.by_type[name] += segments
        return segments
