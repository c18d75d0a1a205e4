"""Which pool's overlay a node gets: by name, or by a selector on its labels."""

import pytest

from obi_core.errors import ConfigError
from obi_core.settings import load_settings
from obi_core.settings.changes import FileChanges

GPU = "pool:\n  selector:\n    accelerator: nvidia\nagent:\n  interval_s: 3s\n"
BIG = "pool:\n  selector: {accelerator: nvidia, size: xl}\nagent:\n  interval_s: 4s\n"
PLAIN = "agent:\n  interval_s: 5s\n"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "pools").mkdir()
    (tmp_path / "obi.yaml").write_text("agent:\n  interval_s: 2s\nkubernetes:\n  node: n1\n")

    def write(**pools):
        for name, text in pools.items():
            (tmp_path / "pools" / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


def load(directory, labels, environ=()):
    asked = []

    def read(kubernetes):
        asked.append(kubernetes.node)
        return labels

    settings = load_settings(directory, dict(environ), {}, labels=read)
    return settings.pool, settings.core.agent.interval_s, asked


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"accelerator": "nvidia"}, ("gpu", 3.0)),
        ({"accelerator": "nvidia", "size": "xl", "zone": "a"}, ("big", 4.0)),
        ({"accelerator": "amd"}, ("", 2.0)),
        ({}, ("", 2.0)),
    ],
)
def test_the_selector_that_asks_for_most_and_fits_chooses(config, labels, expected):
    pool, interval_s, asked = load(config(gpu=GPU, big=BIG, plain=PLAIN), labels)
    assert ((pool, interval_s), asked) == (expected, ["n1"])


def test_a_name_wins_and_then_nobody_asks_for_labels(config):
    assert load(config(gpu=GPU, plain=PLAIN), {"accelerator": "nvidia"}, {"OBI_POOL": "plain"}) == ("plain", 5.0, [])


def test_without_a_selector_nobody_asks_for_labels(config):
    assert load(config(plain=PLAIN), {"accelerator": "nvidia"}) == ("", 2.0, [])


def test_two_that_fit_alike_are_a_mistake(config):
    directory = config(gpu=GPU, other=GPU)
    with pytest.raises(ConfigError, match="pools gpu and other both fit this node; give one of them a further label"):
        load(directory, {"accelerator": "nvidia"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pool:\n  selectr: {}\n", 'unknown key "selectr" in section "pool"; did you mean "selector"?'),
        ("pool:\n  selector:\n    a: 1\n", "pool.selector.a"),
    ],
)
def test_a_wrong_selector_is_refused_with_file_and_line(config, text, sentence):
    directory = config(gpu=text)
    with pytest.raises(ConfigError) as caught:
        load(directory, {})
    assert sentence in str(caught.value)
    assert f"{directory}/pools/gpu.yaml:" in str(caught.value)


def test_a_selector_belongs_into_a_pool_s_file(config):
    directory = config()
    (directory / "obi.yaml").write_text("pool:\n  selector: {}\n")
    with pytest.raises(ConfigError, match=r'obi.yaml:1: unknown section "pool"'):
        load_settings(directory, {}, {}).unlisted([])


def test_a_swap_of_the_data_link_is_seen_once_and_only_when_it_has_settled(tmp_path):
    for name, text in (("one", "agent: {}\n"), ("two", "agent:\n  interval_s: 1s\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "obi.yaml").write_text(text)
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "..data").symlink_to(tmp_path / "one")
    (mount / "obi.yaml").symlink_to("..data/obi.yaml")
    changes = FileChanges(mount)
    assert [changes.settled() for _ in range(3)] == [False, False, False]
    (mount / "..new").symlink_to(tmp_path / "two")
    (mount / "..new").rename(mount / "..data")
    assert [changes.settled() for _ in range(4)] == [False, True, False, False]


def test_a_file_that_is_being_written_is_left_alone(tmp_path):
    file = tmp_path / "obi.yaml"
    file.write_text("a")
    changes = FileChanges(tmp_path)
    seen = []
    for text in ("ab", "abc", "abcd"):
        file.write_text(text)
        seen.append(changes.settled())
    assert (seen, changes.settled(), changes.settled()) == ([False, False, False], True, False)


def test_without_a_directory_nothing_ever_changes():
    assert not FileChanges(None).settled()


def test_a_file_that_comes_or_goes_is_a_change(tmp_path):
    changes = FileChanges(tmp_path)
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools" / "gpu.yaml").write_text("a")
    assert [changes.settled(), changes.settled()] == [False, True]
    (tmp_path / "pools" / "gpu.yaml").unlink()
    assert [changes.settled(), changes.settled()] == [False, True]
