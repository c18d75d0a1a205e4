# ruff: noqa: D102 - test names are sentences
"""Every step that can fail fails once; whatever comes of it, detach gives everything back."""

import errno
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self, cast

from obi_core.errors import AttachError, DecodeError, HostError, KernelError, LoadError
from obi_core.host import Host
from obi_core.kernel.base import BpfObject, Loader
from obi_core.kernel.bcc import BccLoader
from obi_core.kernel.loaders import NodeLoader
from obi_core.model import LoadPlan, Mode, Program, Reason
from obi_core.runtime.attempt import attempt, begin
from obi_core.testing.fakes import FakeLoader
from obi_core.testing.held import Held
from obi_core.testing.suite.author import Author, optional
from obi_core.testing.suite.stage import Stage

_NOWHERE: Final = Path("/nonexistent")
_ERRORS: Final = (
    KernelError("refused by the test", errno=errno.EPERM),
    LoadError("refused by the test", errno=errno.EINVAL, need="budget"),
    AttachError("refused by the test", errno=errno.ENOENT, need="tracefs"),
    HostError("refused by the test"),
    DecodeError("the test", size=1, expected=2),
    OSError(errno.EIO, "refused by the test"),
    MemoryError("refused by the test"),
)


class Failures(Author):
    """What is refused, and what breaks."""

    def test_a_host_without_anything_is_unsupported_with_a_reason(self, mode: Mode) -> None:
        if mode.needs:
            loader = FakeLoader()
            result = attempt(self.probe, self.settings(), mode, loader, Host(_NOWHERE, _NOWHERE))
            assert not result.ok
            assert result.reason not in (Reason.OK, Reason.STEP_RAISED)
            assert result.detail
            assert loader.loaded == []

    def test_a_refused_load_leaves_nothing_open(self, mode: Mode) -> None:
        self._refused(mode, {f"load:{mode.name}": LoadError("refused by the test", program="x", errno=22)})

    def test_a_refused_attach_leaves_nothing_open(self, mode: Mode) -> None:
        for program in mode.programs:
            if not program.loses:
                error = AttachError("refused by the test", program=program.name, errno=22)
                self._refused(mode, {f"attach:{program.name}": error})

    def test_a_refused_optional_program_costs_exactly_what_it_says(self, mode: Mode) -> None:
        for program in mode.programs:
            if not program.loses:
                continue
            error = AttachError("refused by the test", program=program.name, errno=22)
            loader = FakeLoader(errors={f"attach:{program.name}": error})
            result = attempt(self.probe, self.settings(), replace(mode, needs=()), loader, Host())
            assert (result.ok, loader.open) == (True, ())
            assert set(result.loses) == {*mode.loses, *program.loses}

    def test_whatever_fails_in_whatever_step_leaves_nothing_open(self, mode: Mode) -> None:
        with self.stage() as stage:
            asked = self._life(stage, mode, {})
            before = Held.now()
            for step in (f"load:{mode.name}", *(f"load:{name}" for name in optional(mode)), *asked, "close"):
                for error in _ERRORS:
                    self._life(stage, mode, {step: error})
            assert Held.now() == before, "a failure leaves a descriptor open"

    def test_on_this_kernel_a_refused_program_leaves_nothing_open(self, real_mode: Mode) -> None:
        host = Host()
        with self.stage() as stage:
            self._real(stage, host, real_mode, "")
            before = Held.now()
            for program in real_mode.programs:
                ok = self._real(stage, host, real_mode, program.name)
                assert ok == bool(program.loses), f"{program.name} was refused and the mode {'runs' if ok else 'does not run'}"
                assert Held.now() == before, f"{program.name} was refused and something is left open"

    def _life(self, stage: Stage, mode: Mode, errors: Mapping[str, BaseException]) -> tuple[str, ...]:
        """Live once; what was asked of the kernel, each once."""
        loader, probe = FakeLoader(errors=errors), self.probe(self.settings())
        try:
            with suppress(*(type(error) for error in errors.values())):
                stage.do("load", lambda: probe.load(loader, mode))
                stage.do("attach", lambda: probe.attach(mode))
                self.gather(stage, probe)
        finally:
            with suppress(*(type(error) for error in errors.values())):
                stage.do("detach", probe.detach)
            stage.do("detach", probe.detach)
        assert loader.open == (), f"{', '.join(errors) or 'no'} failure leaves an object open"
        return tuple(dict.fromkeys(step for loaded in loader.loaded for step in loaded.asked if step != "close"))

    def _real(self, stage: Stage, host: Host, mode: Mode, refused: str) -> bool:
        probe = self.probe(self.settings())
        loader = _Refusing(self.loader(host), refused)
        try:
            result = begin(probe, mode, loader, host, stage.do)
            if result.ok:
                self.gather(stage, probe)
            return result.ok
        finally:
            stage.do("detach", probe.detach)

    def _refused(self, mode: Mode, errors: Mapping[str, KernelError]) -> None:
        if not mode.programs:
            return
        loader = FakeLoader(errors=errors)
        result = attempt(self.probe, self.settings(), replace(mode, needs=()), loader, Host())
        assert (result.ok, loader.open) == (False, ())
        assert "refused by the test" in result.detail


class _Refusing:
    # A real loader whose objects will not attach one program.
    def __init__(self, loader: Loader, program: str) -> None:
        self._loader, self._program = loader, program

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> BpfObject:
        loaded = self._loader.load(package, stem, mode, plan)
        return cast("BpfObject", _Refused(loaded, self._program, optional(mode)))


class _Refused:
    def __init__(self, loaded: BpfObject, program: str, optional_ones: tuple[str, ...]) -> None:
        self._loaded, self._program, self._optional = loaded, program, optional_ones

    def attach(self, program: str, to: str = "") -> None:
        if program != self._program:
            self._loaded.attach(program, to)
            return
        error = AttachError("refused by the test", program=program, errno=errno.EPERM)
        if program not in self._optional:
            raise error
        cast("dict[str, KernelError]", self._loaded.refused)[program] = error

    def __enter__(self) -> Self:
        self._loaded.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401, PYI036 - passed on as they are
        self._loaded.__exit__(*error)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loaded, name)


class _Lacking:
    """Makes the loader that a mode needs, and has it lack a program."""

    def __init__(self, loader: NodeLoader, program: str) -> None:
        self._loader, self._program = loader, program

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> BpfObject:
        return lacking(self._loader.loader_for(mode), self._program).load(package, stem, mode, plan)


def lacking(loader: Loader, program: str) -> Loader:
    """Have a loader find that one optional program will not load; everything else is its own."""
    error = LoadError("refused by the test", program=program, errno=errno.EPERM)
    if isinstance(loader, FakeLoader):
        return replace(loader, errors={**loader.errors, f"load:{program}": error})
    if isinstance(loader, NodeLoader):
        return _Lacking(loader, program)
    if isinstance(loader, BccLoader):  # of all that a mode can do without, it loads next to nothing anyway
        return loader
    load: Callable[..., BpfObject] = getattr(loader, "_load")  # noqa: B009 - libbpf's one try at a set of programs

    def refusing(shipped: object, stem: str, chosen: Iterable[Program], *rest: object) -> BpfObject:
        if program in [each.name for each in chosen]:
            raise error
        return load(shipped, stem, chosen, *rest)

    setattr(loader, "_load", refusing)  # noqa: B010 - as above: a method is replaced
    return loader
