"""Signals of `obi run`, from the program's first moment on."""

import signal

import pytest

from obi_core.cli.run import _Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_agent_is_made_stops_it_as_soon_as_it_is(number):
    calls = []
    with _Signals() as signals:
        signal.raise_signal(number)
        signals.stop_by(lambda: calls.append("stop"))
    assert calls == ["stop"]


def test_a_signal_afterwards_stops_the_agent_and_sigterm_may_come_again():
    calls = []
    with _Signals() as signals:
        signals.stop_by(lambda: calls.append("stop"))
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert calls == ["stop", "stop"]


def test_afterwards_signals_do_what_they_did_before():
    before = signal.getsignal(signal.SIGINT)
    with _Signals():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
