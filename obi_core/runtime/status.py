"""Where a probe stands, as data: one frozen value that logs, metrics, health endpoints and the doctor all read."""

from dataclasses import dataclass

from obi_core.kernel.budget import MapMemory
from obi_core.model import ProbeState, Reason


@dataclass(frozen=True, slots=True)
class Refused:
    """A program that a mode can do without and has to."""

    program: str
    reason: Reason
    detail: str
    """One sentence: the kernel's answer."""
    remedy: str
    """The next step; empty if `detail` is all there is to say."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one mode."""

    mode: str
    ok: bool
    reason: Reason
    detail: str
    """One sentence; empty if it worked, and in the sizes that were asked for."""
    loses: tuple[str, ...]
    """What the mode cannot give, what its refused optional programs would have given, and maps that had to be smaller."""
    memory: MapMemory | None = None
    """What its maps take; None if it was refused, or nobody asked."""
    remedy: str = ""
    """The next step after a refusal; empty if `detail` has it, or there is none."""
    refused: tuple[Refused, ...] = ()
    """Programs that it works without."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where one probe stands."""

    probe: str
    state: ProbeState = ProbeState.DISCOVERED
    reason: Reason = Reason.STARTING
    mode: str = ""
    loses: tuple[str, ...] = ()
    detail: str = ""
    """Free text, for logs and `/status` alone."""
    generation: int = 0
    """Counts every start of the probe and every mode tried."""
    without_bpf: bool = False
    """Whether its mode has no programs: its figures are the kernel's own, read now and then."""
    attempts: tuple[Attempt, ...] = ()
    """The modes tried at the last start, best first."""
    sheds: tuple[str, ...] = ()
    """Steps taken so that it costs less, the first one first."""
    over: str = ""
    """The budget that the last of them was taken for."""

    @property
    def active(self) -> bool:
        """Whether it runs in some mode."""
        return self.state is ProbeState.ATTACHED

    @property
    def degraded(self) -> bool:
        """Whether it runs and its mode loses something."""
        return self.active and bool(self.loses)

    @property
    def cause(self) -> str:
        """Why it is in its state, as short as can be: of modes refused for the same reason, the first one's words."""
        return next((attempt.detail for attempt in self.attempts if attempt.reason is self.reason), self.detail)

    def brief(self) -> dict[str, object]:
        """Codes and names only, JSON-ready."""
        return {
            "state": self.state.value,
            "reason": self.reason.value,
            "mode": self.mode,
            "without_bpf": self.without_bpf,
            "loses": list(self.loses),
            **({"sheds": {"budget": self.over, "steps": list(self.sheds)}} if self.sheds else {}),
        }

    def full(self) -> dict[str, object]:
        """All of it, JSON-ready."""
        return {
            **self.brief(),
            "detail": self.detail,
            "generation": self.generation,
            "attempts": [
                {
                    "mode": attempt.mode,
                    "ok": attempt.ok,
                    "reason": attempt.reason.value,
                    "detail": attempt.detail,
                    "loses": list(attempt.loses),
                    **({"map_memory": attempt.memory.document()} if attempt.memory is not None else {}),
                }
                for attempt in self.attempts
            ],
        }
