"""Which plugins are imported, and what becomes of those that cannot be used."""

import sys
from importlib import metadata

import pytest

from obi_core.errors import ConfigError
from obi_core.model import Reason
from obi_core.runtime.registry import Plugin, discover, new_manager
from obi_core.testing.site import Site

GOOD = """
    from obi_core import Instrument, Kind, Mode, Probe, hookimpl

    class {name}Probe(Probe):
        name = "{name}"
        instruments = (Instrument("obi.{name}.things", Kind.COUNTER, "{{thing}}", "Things."),)
        modes = (Mode("proc"),)

        def collect(self):
            return ()

    @hookimpl
    def obi_register_probes():
        return ({name}Probe,)
"""


class Found(Site):
    def discover(self, allow, **kwargs) -> dict[str, Plugin]:
        return {f"{p.name}@{p.dist}": p for p in discover(allow, entry_points=self.entry_points, **kwargs)}


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    site = Found(tmp_path)
    yield site
    site.forget()


def test_a_listed_plugin_is_imported_and_checked(site):
    site.install("obi-plugin-disk", "disk", GOOD.format(name="disk"))
    found = site.discover(["disk"])["disk@obi-plugin-disk"]
    assert (found.reason, found.version, found.detail) == (Reason.OK, "1.2", "")
    assert found.probe is not None
    assert found.probe.name == "disk"


def test_a_plugin_that_is_not_listed_is_named_and_never_imported(site):
    site.install("obi-plugin-disk", "disk", GOOD.format(name="disk"))
    site.install("obi-plugin-loud", "loud", "raise SystemExit('I ran')")
    found = site.discover(["disk"])
    assert found["loud@obi-plugin-loud"].reason is Reason.NOT_LISTED
    assert "site_obi_plugin_loud" not in sys.modules


def test_without_a_list_the_built_ins_that_are_installed_run_and_nothing_else(site):
    site.install("obi-plugin-tcp", "tcp", GOOD.format(name="tcp"))
    site.install("obi-plugin-disk", "disk", GOOD.format(name="disk"))
    found = site.discover(None)
    assert {name: plugin.reason for name, plugin in found.items()} == {
        "tcp@obi-plugin-tcp": Reason.OK,
        "disk@obi-plugin-disk": Reason.NOT_LISTED,
    }
    assert "site_obi_plugin_disk" not in sys.modules


def test_a_stranger_with_a_built_in_name_is_not_imported_by_the_bare_name(site):
    site.install("evil", "tcp", "raise SystemExit('I ran')")
    with pytest.raises(ConfigError) as caught:
        site.discover(["tcp"])
    assert str(caught.value) == 'plugin "tcp": obi-plugin-tcp is not installed; to use what is there, list "tcp@evil"'
    assert "site_evil" not in sys.modules
    assert site.discover(None)["tcp@evil"].reason is Reason.NOT_LISTED


def test_a_stranger_with_a_built_in_name_is_imported_when_the_list_says_so(site):
    site.install("obi-plugin-tcp", "tcp", "raise SystemExit('I ran')")
    site.install("other", "tcp", GOOD.format(name="tcp"))
    found = site.discover(["tcp@other"])
    assert found["tcp@other"].reason is Reason.OK
    assert found["tcp@obi-plugin-tcp"].reason is Reason.NOT_LISTED


def test_of_two_distributions_with_one_name_neither_is_imported(site):
    site.install("a-disk", "disk", "raise SystemExit('I ran')")
    site.install("b-disk", "disk", "raise SystemExit('I ran')")
    found = site.discover(["disk"])
    assert {plugin.reason for plugin in found.values()} == {Reason.DUPLICATE}
    assert found["disk@a-disk"].detail == 'a-disk and b-disk announce "disk": list one as "disk@a-disk" or uninstall one'
    assert not {"site_a_disk", "site_b_disk"} & set(sys.modules)


def test_of_two_distributions_with_one_name_the_listed_one_is_imported(site):
    site.install("a_disk", "disk", GOOD.format(name="disk"))
    site.install("b-disk", "disk", "raise SystemExit('I ran')")
    found = site.discover(["disk@A.Disk"])
    assert found["disk@a_disk"].reason is Reason.OK
    assert "site_b_disk" not in sys.modules


def test_a_distribution_that_metadata_shows_twice_is_one(site):
    site.install("obi-plugin-disk", "disk", GOOD.format(name="disk"))

    def twice():
        return [*site.entry_points(), *site.entry_points()]

    assert [plugin.reason for plugin in discover(["disk"], entry_points=twice)] == [Reason.OK]


def test_an_unknown_name_is_an_error_with_the_nearest_installed_one(site):
    site.install("obi-plugin-disk", "disk", GOOD.format(name="disk"))
    with pytest.raises(ConfigError) as caught:
        site.discover(["dsik"])
    assert str(caught.value) == 'no plugin "dsik" is installed; nearest is "disk"'
    assert caught.value.exit_status == 2


def test_an_unknown_name_that_resembles_nothing_lists_what_is_installed(site):
    with pytest.raises(ConfigError, match='no plugin "qqq" is installed; installed: none'):
        site.discover(["qqq"])


def test_one_name_listed_from_two_distributions_is_an_error(site):
    site.install("a-disk", "disk", "")
    site.install("b-disk", "disk", "")
    with pytest.raises(ConfigError, match='lists "disk" twice'):
        site.discover(["disk@a-disk", "disk@b-disk"])


@pytest.mark.parametrize("statement", ["1 / 0", "raise SystemExit(3)", "import no_such_module", "syntax error here"])
def test_an_import_that_raises_costs_that_plugin_alone(site, statement):
    site.install("bad", "bad", statement)
    site.install("obi-plugin-disk", "disk", GOOD.format(name="disk"))
    found = site.discover(["bad", "disk"])
    assert found["bad@bad"].reason is Reason.IMPORT_RAISED
    assert found["bad@bad"].detail.startswith("site_bad raised ")
    assert found["bad@bad"].detail.endswith("; repair or unlist the plugin")
    assert found["disk@obi-plugin-disk"].reason is Reason.OK


def test_a_registration_hook_that_raises_costs_that_plugin_alone(site):
    hook = "from obi_core import hookimpl\n@hookimpl\ndef obi_register_probes():\n    raise RuntimeError('no')\n"
    site.install("bad", "bad", hook)
    site.install("obi-plugin-disk", "disk", GOOD.format(name="disk"))
    manager = new_manager()
    found = site.discover(["bad", "disk"], manager=manager)
    assert (found["bad@bad"].reason, found["bad@bad"].probe) == (Reason.IMPORT_RAISED, None)
    assert found["disk@obi-plugin-disk"].reason is Reason.OK
    assert [name for name, _ in manager.list_name_plugin()] == ["disk"]


def test_a_hook_with_a_wrong_signature_costs_that_plugin_alone(site):
    site.install("bad", "bad", "from obi_core import hookimpl\n@hookimpl\ndef obi_register_probes(surprise):\n    return ()\n")
    assert site.discover(["bad"])["bad@bad"].reason is Reason.IMPORT_RAISED


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        ("(Probe)", "", "announces badProbe, which is not a Probe"),
        ("return (badProbe,)", "return (42,)", "announces 42, which is not a class"),
        ("return (badProbe,)", "return (badProbe, badProbe)", "announces 2 probes; one plugin is one probe"),
        ('name = "bad"', 'name = "worse"', "badProbe.name is 'worse', its entry point is called 'bad'"),
        ('name = "bad"', "", "badProbe.name is None, its entry point is called 'bad'"),
        ('modes = (Mode("proc"),)', "", "badProbe.modes is not a tuple of Mode"),
        ('modes = (Mode("proc"),)', "modes = ()", "badProbe.modes is empty; a probe has at least one way to work"),
        ("instruments = (", "instruments = (1,", "badProbe.instruments is not a tuple of Instrument"),
        ("modes =", "settings_type = dict; modes =", "badProbe.settings_type is not a ProbeSettings class"),
        ("def collect", "def gather", "badProbe does not define collect"),
        ("Kind.COUNTER", "Kind.HISTOGRAM", "obi.bad.things is a histogram without buckets"),
    ],
)
def test_what_is_not_a_complete_probe_is_refused_in_one_sentence(site, old, new, detail):
    source = GOOD.format(name="bad")
    assert old in source
    site.install("bad", "bad", source.replace(old, new))
    found = site.discover(["bad"])["bad@bad"]
    assert (found.probe, found.reason, found.detail) == (None, Reason.WRONG_TYPE, detail)


def test_a_probe_for_another_major_version_is_refused(site):
    site.install("old", "old", GOOD.format(name="old").replace("modes =", "api_version = (2, 3); modes ="))
    found = site.discover(["old"])["old@old"]
    assert (found.probe, found.reason) == (None, Reason.WRONG_API)
    assert found.detail == "oldProbe is made for API 2.3, this agent has 1.0: install a version of the plugin that fits"


def test_a_probe_for_another_minor_version_runs(site):
    site.install("new", "new", GOOD.format(name="new").replace("modes =", "api_version = (1, 7); modes ="))
    assert site.discover(["new"])["new@new"].reason is Reason.OK


def test_a_plugin_may_bring_sinks_and_no_probe(site):
    source = """
        from obi_core import Sink, hookimpl

        class Paper(Sink):
            name = "paper"

            @classmethod
            def create(cls, settings, resource):
                return cls()

            def start(self, source): ...

        @hookimpl
        def obi_register_sinks():
            return (Paper,)
    """
    site.install("paper", "paper", source)
    found = site.discover(["paper"])["paper@paper"]
    assert (found.probe, found.reason, [sink.name for sink in found.sinks]) == (None, Reason.OK, ["paper"])


def test_plugins_that_are_installed_here_are_found_by_default():
    names = {entry.name for entry in metadata.entry_points(group="obi.plugins")}
    assert {plugin.name for plugin in discover(())} == names
