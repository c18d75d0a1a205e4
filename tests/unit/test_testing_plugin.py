"""The marker `kernel` under each policy, in a pytest of its own."""

import json

import pytest

from obi_core.testing.plugin import patience, refused_here, refused_programs, version

pytest_plugins = ("pytester",)

NEEDY = """
    import pytest

    @pytest.mark.kernel(needs=("cmd:no-such-program",), {since})
    def test_it():
        pass

    def test_other():
        pass
"""


@pytest.fixture
def run(pytester, monkeypatch, request):
    # Installed, the plugin comes through its entry point; in a tree that is not, by name.
    known = request.config.pluginmanager.get_plugin("obi") is not None
    arguments = ("-p", "no:randomly", "-p", "no:cacheprovider", *(() if known else ("-p", "obi_core.testing.plugin")))

    def go(policy, source=None):
        monkeypatch.delenv("OBI_KERNEL", raising=False)
        if policy is not None:
            monkeypatch.setenv("OBI_KERNEL", policy)
        pytester.makepyfile(source or NEEDY.format(since=""))
        return pytester.runpytest_subprocess(*arguments, "-rs", "--strict-markers")

    return go


@pytest.mark.parametrize("policy", [None, "", "auto"])
def test_auto_skips_and_names_what_is_missing(run, policy):
    result = run(policy)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*SKIPPED*program no-such-program is not installed*"])


def test_require_fails_and_names_what_is_missing(run):
    result = run("require")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*program no-such-program is not installed (OBI_KERNEL=require)*"])


def test_off_skips_every_kernel_test_whatever_it_needs(run):
    result = run("off", "import pytest\n@pytest.mark.kernel\ndef test_it(): pass\n")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*kernel tests are off (OBI_KERNEL=off)*"])


def test_with_since_a_skip_on_a_newer_kernel_fails(run):
    result = run("auto", NEEDY.format(since='since="4.15"'))
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*program no-such-program is not installed (a kernel since 4.15 should have it, this is *)*"])


def test_with_since_a_skip_on_an_older_kernel_is_a_skip(run):
    run("auto", NEEDY.format(since='since="99.1"')).assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize("policy", ["auto", "require"])
def test_a_test_whose_needs_are_met_runs(run, policy):
    source = "import pytest\n@pytest.mark.kernel(needs=('cmd:python3',))\ndef test_it(): pass\n"
    run(policy, source).assert_outcomes(passed=1)


def test_a_missing_tracepoint_is_named(run):
    result = run("auto", "import pytest\n@pytest.mark.kernel(needs=('tp:tcp/no_such',))\ndef test_it(): pass\n")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*tp:tcp/no_such is missing*"])


def test_an_unknown_policy_is_an_error(run):
    result = run("maybe")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*OBI_KERNEL=maybe: must be one of off, auto, require*"])


def test_releases_are_compared_as_numbers():
    assert version("6.1.0-18-amd64") == (6, 1, 0)
    assert version("5.10") < version("5.10.209") < version("6.1.0-18-amd64")
    assert version("") == ()


def test_a_mode_that_the_doctor_saw_refused_is_left_out_with_its_code(tmp_path):
    from types import SimpleNamespace

    from obi_core.model import Mode

    modes = [{"name": "best", "ok": False, "reason": "load_refused"}, {"name": "plain", "ok": True, "reason": "ok"}]
    (tmp_path / "doctor.json").write_text(json.dumps({"probes": [{"name": "tcp", "modes": modes}]}))

    def refusal(mode, plugin_name="tcp"):
        path = tmp_path / "plugins" / plugin_name / "tests/test_x.py"
        item = SimpleNamespace(path=path, callspec=SimpleNamespace(params={"mode": mode}))
        return refused_here(item, str(tmp_path / "doctor.json"))

    assert refusal(Mode("best")) == "load_refused: mode best is refused here"
    assert refusal(Mode("plain")) == ""
    assert refusal(Mode("best"), "limits") == ""
    assert refusal("best") == ""


def test_programs_that_the_doctor_saw_refused_are_no_failure_of_a_test(tmp_path, monkeypatch):
    refused = [{"program": "tcp_seed", "reason": "load_refused"}, {"program": "tcp_rtt_ops", "reason": "no_btf"}]
    document = {"probes": [{"name": "tcp", "modes": [{"name": "best", "refused": refused}]}]}
    (tmp_path / "doctor.json").write_text(json.dumps(document))
    assert refused_programs("tcp") == frozenset()
    monkeypatch.setenv("OBI_DOCTOR", str(tmp_path / "doctor.json"))
    assert refused_programs("tcp") == {"tcp_seed"}
    assert refused_programs("limits") == frozenset()


def test_patience_is_one_unless_asked_for(monkeypatch):
    monkeypatch.delenv("OBI_PATIENCE", raising=False)
    assert patience() == 1
    monkeypatch.setenv("OBI_PATIENCE", "6")
    assert patience() == 6
