"""Which attributes of a metric become series: allow and deny lists by metric, with wildcards; worked out once per name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from obi_core.bus.series import Attributes


@dataclass(frozen=True, slots=True)
class Rule:
    """What one pattern of metric names says of attributes."""

    metric: str
    allow: tuple[str, ...] | None = None
    """Attributes that stay, `*` for anything; None: all."""
    deny: tuple[str, ...] = ()
    """Attributes that go, of those that stay."""

    def keeps(self, attribute: str) -> bool:
        """Whether an attribute stays."""
        allowed = self.allow is None or any(fnmatchcase(attribute, pattern) for pattern in self.allow)
        return allowed and not any(fnmatchcase(attribute, pattern) for pattern in self.deny)


Filter = Callable[[Attributes], Attributes]
"""Leaves out of the attributes of a new series those that are not wanted."""


def everything(attributes: Attributes) -> Attributes:
    """Leave nothing out."""
    return attributes


def attribute_filter(metric: str, rules: Iterable[Rule]) -> Filter:
    """Make the filter of one metric; an attribute stays if every rule whose pattern fits the metric lets it."""
    mine = tuple(rule for rule in rules if fnmatchcase(metric, rule.metric))
    if not mine:
        return everything
    known: dict[str, bool] = {}

    def keep(attributes: Attributes) -> Attributes:
        for name, _ in attributes:
            if name not in known:
                known[name] = all(rule.keeps(name) for rule in mine)
        return tuple(pair for pair in attributes if known[pair[0]])

    return keep


def rules_of(given: Mapping[str, object]) -> tuple[Rule, ...]:
    """Rules from the settings: metric pattern → something with `allow` and `deny`."""
    return tuple(Rule(metric, getattr(said, "allow", None), getattr(said, "deny", ())) for metric, said in given.items())
