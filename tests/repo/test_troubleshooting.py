"""docs/obi-troubleshooting.md has an entry for every code that OBI prints, and for no other."""

import re

from obi_core.cli.doctor.advice import Code
from obi_core.model import Reason


def test_every_reason_code_has_its_entry_and_every_entry_its_code(tree):
    text = (tree.root / "docs/obi-troubleshooting.md").read_text()
    probes, _, advice = text.partition("## Advice of the doctor")
    assert re.findall(r"(?m)^### `(\w+)`$", probes) == sorted(
        (reason.value for reason in Reason), key=lambda value: probes.index(f"### `{value}`\n")
    )
    assert set(re.findall(r"(?m)^### `(\w+)`$", advice)) == {code.value for code in Code}


def test_every_entry_says_something(tree):
    text = (tree.root / "docs/obi-troubleshooting.md").read_text()
    bare = [entry.partition("\n")[0] for entry in text.split("### ")[1:] if len(entry.partition("\n")[2].split()) < 2]
    assert bare == []
