"""Durations, addresses, and the plan that a probe's settings make."""

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from obi_core.model import LoadPlan
from obi_core.settings import BudgetSettings, Constant, Entries, Listen, Live, ProbeSettings, size_text, sized_by
from obi_core.settings.values import share


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", 2.0),
        ("2s", 2.0),
        (" 2 s ", 2.0),
        ("500ms", 0.5),
        (".5s", 0.5),
        ("1.5m", 90.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        (3, 3.0),
    ],
)
def test_a_duration_is_in_seconds(text, expected):
    assert ProbeSettings.model_validate({"interval_s": text}).interval_s == expected


@pytest.mark.parametrize("text", ["", "s", "1 week", "1e3", "-1s", "nan", "1s2", "8d", "0ms", [1], True, float("nan")])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValidationError):
        ProbeSettings.model_validate({"interval_s": text})


@pytest.mark.parametrize(
    ("text", "host", "port", "again"),
    [
        ("127.0.0.1:9090", "127.0.0.1", 9090, "127.0.0.1:9090"),
        ("localhost:0", "localhost", 0, "localhost:0"),
        ("[::1]:9090", "::1", 9090, "[::1]:9090"),
        (":9090", "0.0.0.0", 9090, "0.0.0.0:9090"),
    ],
)
def test_an_address_is_read_and_written(text, host, port, again):
    listen = Listen.parse(text)
    assert (listen.host, listen.port, str(listen), listen.ipv6) == (host, port, again, ":" in host)


@pytest.mark.parametrize("text", ["", "9090", "host", "host:", "host:65536", "host:-1", "host:x", "::1:9090", "host:٣"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        Listen.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4096", 4096), (4096, 4096), ("64KiB", 65536), ("64 MiB", 64 << 20), ("1.5GiB", 3 << 29), ("8192B", 8192)],
)
def test_a_size_is_in_bytes(text, expected):
    assert BudgetSettings.model_validate({"map_memory": text}).map_memory == expected


@pytest.mark.parametrize("text", ["", "MiB", "64MB", "64M", "-1", "1e9", "4095", "1025GiB", "nan", True, 4096.5, None, [1]])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValidationError):
        BudgetSettings.model_validate({"map_memory": text})


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (512, "512 B"), (1024, "1 KiB"), (911_974, "890.6 KiB"), (64 << 20, "64 MiB"), (1 << 40, "1024 GiB")],
)
def test_a_size_is_written_in_its_largest_unit(count, text):
    assert size_text(count) == text


class Marked(ProbeSettings):
    every: Annotated[int, Live("x_every")] = Field(16, description="")
    slow_s: Annotated[float, Constant("x_slow_ns", scale=1_000_000_000)] = Field(0.2, description="")
    strict: Annotated[bool, Constant("x_strict")] = Field(True, description="")
    rows: Annotated[int, Entries("x_a"), Entries("x_b"), Field(ge=1)] = Field(8, description="")
    maybe: Annotated[int | None, Constant("x_maybe")] = Field(None, description="")
    plain: str = Field("", description="")


def test_the_markers_make_the_load_plan():
    assert Marked(slow_s=0.25, strict=False).plan() == LoadPlan(
        constants={"x_slow_ns": 250_000_000, "x_strict": 0}, live={"x_every": 16}, entries={"x_a": 8, "x_b": 8}
    )


def test_a_field_without_a_value_asks_for_nothing_and_with_one_it_does():
    assert "x_maybe" not in Marked().plan().constants
    assert Marked(maybe=0).plan().constants["x_maybe"] == 0


def test_a_marker_on_text_is_the_author_s_mistake():
    class Wrong(ProbeSettings):
        name: Annotated[str, Constant("x")] = Field("a", description="")

    with pytest.raises(TypeError, match="field name carries a BPF marker, so its value must be a number, not str"):
        Wrong().plan()


def test_settings_without_markers_plan_nothing():
    assert ProbeSettings().plan() == LoadPlan({}, {}, {})


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        ProbeSettings().interval_s = 3


def test_the_field_behind_the_size_of_each_map_is_known():
    assert sized_by(Marked()) == {"x_a": "rows", "x_b": "rows"}


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("0.5 %", 0.005), ("0.05", 0.05), (".1", 0.1), (0.2, 0.2), (1, 1)])
def test_a_share_is_a_percentage_or_a_number(text, value):
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["5 percent", "%", "", True, None, "-5%"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ValueError, match=r"must be a share, such as 5% or 0\.05"):
        share(text)
