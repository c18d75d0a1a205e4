"""The commented configuration file: it is valid as it is, and every setting is in it with its default."""

import re
from pathlib import Path

from obi_plugin_syscall.settings import SyscallSettings

_TEXT = Path(__file__).parents[3].joinpath("config/ebpf-syscall.yaml").read_text()


def test_the_file_says_nothing_as_it_is():
    assert [line for line in _TEXT.splitlines() if line and not line.lstrip().startswith("#")] == ["syscall:"]


def test_every_setting_is_in_the_file_in_order_with_its_default():
    written = {name: value.strip("[]") for name, value in re.findall(r"(?m)^  # ([a-z_]+): (.*)$", _TEXT)}

    assert list(written) == list(SyscallSettings.model_fields)
    assert SyscallSettings(**written).model_copy(update={"interval_s": None}) == SyscallSettings()


def test_what_was_opted_in_to_is_off_while_the_probe_sheds_and_is_off_by_default():
    opted = SyscallSettings(blocking=True)
    assert opted.opted_in() == ("blocking",)
    assert opted.without_opt_ins() == SyscallSettings()
