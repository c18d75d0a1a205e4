"""The border of the program: whatever a command raises becomes one line and a status."""

import importlib
import inspect

import pytest

from obi_core.cli import version
from obi_core.cli.main import COMMANDS, main
from obi_core.errors import AttachError, ConfigError, HostError


@pytest.fixture
def raising(monkeypatch):
    def set_up(error):
        def run(arguments):
            raise error

        monkeypatch.setattr(version, "run", run)

    return set_up


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigError("no", file="a.yaml", line=3), 2, "a.yaml:3: no"),
        (HostError("no\nwith a second\n  line"), 1, "no with a second line"),
        (AttachError("refused", program="p", section="tp/x", errno=13), 1, "p (tp/x): refused [EACCES]"),
        (KeyError("x"), 1, "unexpected KeyError: 'x'; run it again with --log-level debug to see where"),
    ],
)
def test_an_error_is_one_line_with_its_status(raising, capsys, error, status, line):
    raising(error)
    assert main(["version"]) == status
    assert capsys.readouterr() == ("", f"obi: {line}\n")


def test_at_debug_the_traceback_is_shown_before_the_line(raising, capsys, monkeypatch):
    raising(KeyError("x"))
    monkeypatch.setenv("OBI_AGENT__LOG_LEVEL", "debug")
    assert main(["version"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "obi: unexpected KeyError: 'x'"


def test_an_interrupt_is_status_130_without_a_word(raising, capsys):
    raising(KeyboardInterrupt())
    assert main(["version"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_two_functions_and_a_help_page(name, capsys):
    module = importlib.import_module(f"obi_core.cli.{name.replace('-', '_')}")
    assert list(inspect.signature(module.run).parameters) == ["arguments"]
    assert list(inspect.signature(module.add_arguments).parameters) == ["parser"]
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: obi {name} ")


def test_help_lists_every_command_in_ascii(capsys):
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    assert page.isascii()
    assert [name for name in COMMANDS if f"\n    {name}" not in page] == []
    assert main(["run", "--help"]) == 0
    assert capsys.readouterr().out.isascii()
