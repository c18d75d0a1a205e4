"""The contract suite against probes that each break one promise: the right test fails, and no other."""

import re
import textwrap

import pytest

from obi_core.testing.contract import ProbeContract

pytest_plugins = ("pytester",)

GOOD = """
    import os
    import time

    from obi_core import Account, Column, Instrument, Kind, Mode, Observation, Owner, Probe, Program, Row, Span, View
    from obi_core.errors import AttachError
    from obi_core.testing.contract import ProbeContract
    from obi_core.testing.fakes import FakeLoader

    THINGS = Instrument("obi.sly.things", Kind.COUNTER, "{thing}", "Things.", ("thing.kind",))
    OTHERS = Instrument("obi.sly.others", Kind.COUNTER, "{thing}", "Others.")
    TABLE = View("things", "Things", (Column("thing"),))
    HAPPENED = [0]
    HOOK = (Program("sly_hook"), Program("sly_more", loses=("obi.sly.others",)))

    class Sly(Probe):
        name = "sly"
        instruments = (THINGS, OTHERS)
        views = (TABLE,)
        modes = (Mode("best", HOOK), Mode("plain", (Program("sly_plain"),), loses=("obi.sly.others", "view things")))

        def load(self, loader, mode):
            super().load(loader, mode)
            self.mode = mode

        def collect(self):
            for _ in self.bpf.rows("sly_things"):
                pass
            count = HAPPENED[0]
            yield Observation(THINGS, "row", count, Owner(0, 0, 0, "sly"), {"thing.kind": "good"})
            if self.mode.name == "best":
                yield Row(TABLE, "row", None, ("one",))
                if "sly_more" not in self.bpf.refused:
                    yield Observation(OTHERS, "row", count)

    class TestSly(ProbeContract):
        probe = Sly
        expects = ("obi.sly.things", "obi.sly.others", "view things")
        collect_deadline_s = 10.0

        def loader(self, host):
            return FakeLoader()

        def provoke(self):
            HAPPENED[0] += 23

        def fill(self, probe):
            return 100
"""

BAD = {
    "leaks a descriptor": (
        'for _ in self.bpf.rows("sly_things"):',
        "os.open('/dev/null', os.O_RDONLY)\n            for _ in self.bpf.rows('sly_things'):",
        {
            "test_the_steps_in_any_order_leave_nothing_open",
            "test_whatever_fails_in_whatever_step_leaves_nothing_open",
            "test_on_this_kernel_every_mode_works_and_leaves_nothing",
            "test_on_this_kernel_the_steps_in_any_order_leave_nothing_open",
            "test_on_this_kernel_a_refused_program_leaves_nothing_open",
        },
    ),
    "keeps an account that does not balance": (
        "            count = HAPPENED[0]\n",
        "            count = HAPPENED[0]\n            yield from (Account('seen', 10 + count), Account('lost', count))\n",
        {"test_on_this_kernel_everything_that_was_seen_is_accounted_for"},
    ),
    "carries an undeclared attribute": (
        '{"thing.kind": "good"}',
        '{"thing.kind": "good", "pid": 1}',
        {
            "test_on_this_kernel_every_mode_works_and_leaves_nothing",
            "test_on_this_kernel_no_series_falls_when_the_probe_is_restarted",
            "test_on_this_kernel_full_maps_of_garbage_are_read_at_a_cost_that_grows_with_the_rows",
        },
    ),
    "carries a value that no backend takes": (
        '{"thing.kind": "good"}',
        '{"thing.kind": 2.5}',
        {
            "test_on_this_kernel_every_mode_works_and_leaves_nothing",
            "test_on_this_kernel_no_series_falls_when_the_probe_is_restarted",
            "test_on_this_kernel_full_maps_of_garbage_are_read_at_a_cost_that_grows_with_the_rows",
        },
    ),
    "carries a value without end": (
        '{"thing.kind": "good"}',
        '{"thing.kind": "good" * 1000}',
        {
            "test_on_this_kernel_every_mode_works_and_leaves_nothing",
            "test_on_this_kernel_full_maps_of_garbage_are_read_at_a_cost_that_grows_with_the_rows",
        },
    ),
    "lets a counter fall": (
        "count = HAPPENED[0]",
        "count = 10_000 - HAPPENED[0]",
        {"test_on_this_kernel_every_mode_works_and_leaves_nothing"},
    ),
    "gives what its mode says it loses": (
        'if self.mode.name == "best":',
        "if self.mode.name:",
        {"test_on_this_kernel_a_mode_loses_what_it_says_and_nothing_else"},
    ),
    "loses what it does not name": (
        'loses=("obi.sly.others", "view things")',
        'loses=("view things",)',
        {"test_on_this_kernel_a_mode_loses_what_it_says_and_nothing_else"},
    ),
    "gives what a refused program would have given": (
        'if "sly_more" not in self.bpf.refused:',
        "if self.bpf:",
        {"test_on_this_kernel_without_a_program_that_is_lost_which_it_names"},
    ),
    "names a loss that it does not have": (
        '"view things"))',
        '"view thinks"))',
        {
            "test_what_is_lost_or_expected_is_the_name_of_something_declared",
            "test_on_this_kernel_a_mode_loses_what_it_says_and_nothing_else",
        },
    ),
    "hangs in collect": (
        "count = HAPPENED[0]",
        "time.sleep(3600); count = 0",
        {
            "test_the_steps_in_any_order_leave_nothing_open",
            "test_whatever_fails_in_whatever_step_leaves_nothing_open",
            "test_on_this_kernel_every_mode_works_and_leaves_nothing",
            "test_on_this_kernel_no_series_falls_when_the_probe_is_restarted",
            "test_on_this_kernel_the_steps_in_any_order_leave_nothing_open",
            "test_on_this_kernel_a_refused_program_leaves_nothing_open",
            "test_on_this_kernel_a_mode_loses_what_it_says_and_nothing_else",
            "test_on_this_kernel_without_a_program_that_is_lost_which_it_names",
            "test_on_this_kernel_everything_that_was_seen_is_accounted_for",
            "test_on_this_kernel_full_maps_of_garbage_are_read_at_a_cost_that_grows_with_the_rows",
        },
    ),
    "takes ever longer the fuller its map is": (
        "return 100",
        "probe.work = True; return 100",
        {"test_on_this_kernel_full_maps_of_garbage_are_read_at_a_cost_that_grows_with_the_rows"},
    ),
    "stumbles over garbage": (
        "return 100",
        "probe.garbage = True; return 100",
        {"test_on_this_kernel_full_maps_of_garbage_are_read_at_a_cost_that_grows_with_the_rows"},
    ),
    "says nothing useful when its steps come in a wrong order": (
        "            for _ in self.bpf.rows",
        "            self.mode.name\n            for _ in self.bpf.rows",
        {
            "test_the_steps_in_any_order_leave_nothing_open",
            "test_on_this_kernel_the_steps_in_any_order_leave_nothing_open",
        },
    ),
    "keeps its object from the base class": (
        "super().load(loader, mode)",
        "self._bpf = loader.load('', 'sly', mode, self.settings.plan())",
        {
            "test_every_mode_is_closed_by_detach_and_detach_is_idempotent",
            "test_a_refused_attach_leaves_nothing_open",
            "test_a_refused_optional_program_costs_exactly_what_it_says",
            "test_the_steps_in_any_order_leave_nothing_open",
            "test_whatever_fails_in_whatever_step_leaves_nothing_open",
        },
    ),
}
WORK = """
            if getattr(self, "work", False):
                end = time.thread_time() + 0.3
                while time.thread_time() < end:
                    sum(range(1000))
            if getattr(self, "garbage", False):
                ("one", "two")[255]
            count = HAPPENED[0]
"""


@pytest.fixture
def failed(pytester, monkeypatch, request):
    monkeypatch.setenv("OBI_KERNEL", "auto")
    known = request.config.pluginmanager.get_plugin("obi") is not None
    arguments = ("-p", "no:randomly", "-p", "no:cacheprovider", *(() if known else ("-p", "obi_core.testing.plugin")))

    def run(source):
        pytester.makepyfile(textwrap.dedent(source))
        result = pytester.runpytest_inprocess(*arguments, "-q", "-rf", "--tb=line")
        return {found[1] for line in result.outlines if (found := re.match(r"FAILED .*::(test_\w+)", line))}, result

    return run


def test_the_expected_names_are_tests_of_the_suite():
    tests = {name for name in dir(ProbeContract) if name.startswith("test_")}
    assert set().union(*(expected for _, _, expected in BAD.values())) <= tests


def test_a_probe_that_keeps_its_promises_passes(failed):
    names, result = failed(GOOD)
    assert names == set()
    assert result.ret == 0
    assert "skipped" not in result.outlines[-1]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sin", BAD)
def test_a_probe_that_breaks_a_promise_fails_there(failed, sin):
    old, new, expected = BAD[sin]
    source = GOOD
    assert source.count(old) == 1
    source = source.replace(old, new)
    if "probe.work" in new or "probe.garbage" in new:
        source = source.replace("            count = HAPPENED[0]\n", WORK.lstrip("\n"))
    if "sleep" in new:
        source = source.replace("collect_deadline_s = 10.0", "collect_deadline_s = 0.3")
    names, _ = failed(source)
    assert names == expected
