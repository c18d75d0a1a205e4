"""The balanced accounts of all probes: what became of what their programs saw."""

from collections.abc import Mapping

from obi_core.model import OUTCOMES, Account


class Accounts:
    """Counts by probe and outcome. Bus thread only."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def register(self, probe: str) -> None:
        """Let every outcome of `probe` exist, as 0."""
        for outcome in OUTCOMES:
            self._counts.setdefault((probe, outcome), 0)

    def count(self, probe: str, since: Account) -> None:
        """Add what came to an entry since it was last read."""
        self._counts[probe, since.outcome] = self._counts.get((probe, since.outcome), 0) + since.count

    def read(self) -> Mapping[tuple[str, str], int]:
        """Give a copy: (probe, outcome) → things."""
        return dict(self._counts)
