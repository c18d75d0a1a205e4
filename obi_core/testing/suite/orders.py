# ruff: noqa: D102 - test names are sentences
"""The steps of a life in every order: a wrong one is an error that says so, or nothing, and never a leak."""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Final

from obi_core.errors import ObiError
from obi_core.host import Host
from obi_core.kernel.base import Loader
from obi_core.model import Mode
from obi_core.probe import Probe
from obi_core.testing.fakes import FakeLoader
from obi_core.testing.held import Held
from obi_core.testing.suite.author import Author
from obi_core.testing.suite.stage import HungError, Stage

STEPS: Final = ("load", "attach", "collect", "sever", "detach")
CLEAR: Final = (RuntimeError, ObiError, OSError)
"""What a step that comes at a wrong moment may raise; an AttributeError or a TypeError tells nobody anything."""
_LENGTH: Final = 4
_REAL: Final = (
    ("attach",),
    ("collect",),
    ("sever", "detach"),
    ("load", "collect"),
    ("load", "sever", "attach", "collect"),
    ("load", "attach", "attach", "collect", "sever", "collect"),
    ("load", "attach", "detach", "attach", "collect"),
    ("load", "load", "attach", "attach", "detach", "detach"),
    ("load", "attach", "detach", "load", "attach", "collect", "sever"),
)
"""Orders that are tried on a real kernel, where each costs a load."""


class Orders(Author):
    """The lifecycle."""

    def test_detach_before_load_and_twice_does_nothing(self) -> None:
        probe = self.probe(self.settings())
        probe.detach()
        probe.detach()

    def test_every_mode_is_closed_by_detach_and_detach_is_idempotent(self, mode: Mode) -> None:
        loader, probe = FakeLoader(), self.probe(self.settings())
        probe.load(loader, mode)
        probe.attach(mode)
        probe.sever()
        probe.detach()
        probe.detach()
        assert loader.open == ()

    def test_the_steps_in_any_order_leave_nothing_open(self, mode: Mode) -> None:
        length = _LENGTH if mode.programs else _LENGTH - 1  # without programs the steps are real ones, and dear
        with self.stage() as stage:
            self._live(stage, FakeLoader(), mode, STEPS[:3])  # what a first use keeps open for good is opened here
            before = Held.now()
            for count in range(1, length + 1):
                for order in product(STEPS, repeat=count):
                    loader = FakeLoader()
                    self._live(stage, loader, mode, order)
                    assert loader.open == (), f"after {', '.join(order)} and detach, an object is open"
            after = Held.now()
        assert after == before, "some order of steps leaves a descriptor open"

    def test_on_this_kernel_the_steps_in_any_order_leave_nothing_open(self, real_mode: Mode) -> None:
        loader = self.loader(Host())
        with self.stage() as stage:
            self._live(stage, loader, real_mode, STEPS[:3])
            before = Held.now()
            for order in _REAL:
                self._live(stage, loader, real_mode, order)
                assert Held.now() == before, f"after {', '.join(order)} and detach, something is left open"

    def _live(self, stage: Stage, loader: Loader, mode: Mode, order: Iterable[str]) -> None:
        probe = self.probe(self.settings())
        steps = self._steps(stage, probe, loader, mode)
        try:
            for step in order:
                try:
                    steps[step]()
                except HungError:
                    probe.sever()
                    raise
                except Exception as error:
                    if isinstance(error, CLEAR) and str(error):
                        continue
                    said = f"{step} raised {type(error).__name__}: {error}, which says nothing to anybody"
                    raise AssertionError(f"{said}; the order was {', '.join(order)}") from error
        finally:
            stage.do("detach", probe.detach)

    def _steps(self, stage: Stage, probe: Probe, loader: Loader, mode: Mode) -> Mapping[str, Callable[[], object]]:
        return {
            "load": lambda: stage.do("load", lambda: probe.load(loader, mode)),
            "attach": lambda: stage.do("attach", lambda: probe.attach(mode)),
            "collect": lambda: self.gather(stage, probe),
            "sever": probe.sever,
            "detach": lambda: stage.do("detach", probe.detach),
        }
