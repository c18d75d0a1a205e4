"""The matrix's table, from outcomes made up here."""

from datetime import date
from pathlib import Path

import guests
import outcomes
import pytest
import table

DOCTOR = {
    "name": "tcp",
    "mode": "tracepoint",
    "loses": ["obi.tcp.rtt"],
    "modes": [
        {"name": "tp_btf", "ok": False, "reason": "load_refused", "loses": [], "refused": []},
        {
            "name": "tracepoint",
            "ok": True,
            "reason": "ok",
            "loses": ["obi.tcp.rtt"],
            "refused": [{"program": "tcp_rtt_ops", "reason": "missing_capability"}],
        },
        {"name": "netlink", "ok": True, "reason": "ok", "loses": ["a", "b"], "refused": []},
    ],
}


def made(passed=(), skipped=None, failed=None, probes=(DOCTOR,)):
    return outcomes.Outcome("5.10.0-32-amd64", list(passed), skipped or {}, failed or {}, list(probes), "")


def test_a_row_says_release_mode_losses_with_their_codes_and_what_was_tested():
    outcome = made(
        passed=("plugins.tcp.tests.test_a::x", "plugins.tcp.tests.test_a::y", "plugins.limits.tests.test_b::z"),
        skipped={"plugins.tcp.tests.test_a::z": "btf is missing: use a kernel built with it"},
    )
    assert list(table.rows("5.10.0-32-amd64", outcome, ["tcp"])) == [
        (
            "5.10.0-32-amd64",
            "tcp",
            "tracepoint",
            "obi.tcp.rtt (missing_capability)",
            "tp_btf: load_refused; netlink: works, loses 2",
            "2 passed, 1 left out (btf)",
        )
    ]


def test_a_failure_is_loud_and_a_probe_without_result_is_told():
    outcome = made(failed={"plugins.tcp.tests.test_a::x": "no"})
    rows = list(table.rows("6.1", outcome, ["tcp", "network"]))
    assert rows[0][-1] == "0 passed, 1 FAILED"
    assert rows[1] == ("6.1", "network", "none", "", "", "no result came back")


def test_the_page_has_its_date_and_a_line_per_row():
    page = table.markdown(table.rows("5.10.0-32-amd64", made(), ["tcp"]), date(2026, 11, 24))
    assert "on 2026-11-24;" in page
    assert page.splitlines()[-1].startswith("| 5.10.0-32-amd64 | tcp | tracepoint |")


def test_what_a_run_left_is_read(tmp_path):
    (tmp_path / "release").write_text("6.1.0\n")
    (tmp_path / "doctor.json").write_text('{"probes": [{"name": "tcp"}]}')
    (tmp_path / "junit.xml").write_text(
        '<testsuites><testsuite><testcase classname="plugins.tcp.t" name="a"/>'
        '<testcase classname="plugins.tcp.t" name="b"><skipped message="btf is missing: x"/></testcase>'
        '<testcase classname="plugins.tcp.t" name="c"><failure message="no">trace</failure></testcase>'
        "</testsuite></testsuites>"
    )
    outcome = outcomes.outcome(tmp_path, "one\n\ntwo\n")
    assert (outcome.release, outcome.passed, outcome.probes) == ("6.1.0", ["plugins.tcp.t::a"], [{"name": "tcp"}])
    assert outcome.skipped == {"plugins.tcp.t::b": "btf is missing: x"}
    assert outcome.failed == {"plugins.tcp.t::c": "no\ntrace"}
    assert outcome.console == "one\ntwo"


def test_a_test_that_was_run_again_counts_by_its_last_run(tmp_path):
    case = '<testcase classname="plugins.tcp.t" name="{}">{}</testcase>'
    failure = '<failure message="no">trace</failure>'
    assert outcomes.kept(tmp_path) is None
    first = case.format("a", "") + case.format("b", failure) + case.format("c", failure)
    (tmp_path / "junit.xml").write_text(f"<testsuite>{first}</testsuite>")
    for number, cases in enumerate((case.format("b", "") + case.format("c", failure), case.format("c", "")), 1):
        before = outcomes.kept(tmp_path)
        later = tmp_path / outcomes.AGAIN.format(number)
        later.mkdir()
        (later / "junit.xml").write_text(f"<testsuite>{cases}</testsuite>")
    assert (before.passed, list(before.failed)) == (["plugins.tcp.t::a", "plugins.tcp.t::b"], ["plugins.tcp.t::c"])
    found = outcomes.kept(tmp_path)
    assert (found.passed, found.failed) == ([f"plugins.tcp.t::{name}" for name in "abc"], {})


def test_a_run_that_left_nothing_is_an_outcome_too(tmp_path):
    outcome = outcomes.outcome(tmp_path)
    assert (outcome.release, outcome.passed, outcome.probes) == ("", [], [])


@pytest.mark.parametrize("layout", ["old", "merged", "split"])
def test_a_package_of_any_layout_ends_as_boot_and_lib(tmp_path, layout):
    modules = tmp_path / ("lib" if layout == "old" else "usr/lib") / "modules/9.9"
    modules.mkdir(parents=True)
    kernel = modules / "vmlinuz" if layout == "split" else tmp_path / "boot/vmlinuz-9.9"
    kernel.parent.mkdir(exist_ok=True)
    kernel.write_bytes(b"kernel")
    guests._arrange(tmp_path, "9.9")
    image = guests.Image(tmp_path)
    assert (image.release, image.file.read_bytes()) == ("9.9", b"kernel")
    assert Path(tmp_path, "lib/modules/9.9").is_dir()
