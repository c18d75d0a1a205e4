"""What a run of the plugins' tests left behind, on a guest or on this machine."""

import json
from dataclasses import dataclass, replace
from xml.etree import ElementTree as ET

AGAIN = "again-{}"
"""Below a kernel's results, numbered from 1: what became of the tests that had failed."""


@dataclass(frozen=True)
class Outcome:
    """What a guest left behind."""

    release: str
    passed: list[str]
    skipped: dict[str, str]
    """Message by test."""
    failed: dict[str, str]
    probes: list[dict[str, object]]
    """What the doctor found, `probes` of its document."""
    console: str
    """The last lines that it printed."""


def kept(results):
    """Read what earlier runs left; a test that was run again counts by its last run. None: there was none."""
    if not (results / "junit.xml").is_file():
        return None
    found, number = outcome(results), 1
    while (later := results / AGAIN.format(number)).is_dir():
        found, number = _after(found, outcome(later)), number + 1
    return found


def _after(found, later):
    told = {*later.passed, *later.skipped, *later.failed}
    return replace(
        found,
        passed=[*(name for name in found.passed if name not in told), *later.passed],
        skipped={name: why for name, why in found.skipped.items() if name not in told} | later.skipped,
        failed={name: why for name, why in found.failed.items() if name not in told} | later.failed,
    )


def outcome(results, console=""):
    """Read what one run left: on a guest, or on this machine."""
    release, junit, doctor = results / "release", results / "junit.xml", results / "doctor.json"
    passed, skipped, failed = [], {}, {}
    # What pytest wrote in the guest is ours.
    for case in ET.parse(junit).iter("testcase") if junit.is_file() else ():  # noqa: S314 - see above
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = next((part for part in case if part.tag in {"failure", "error"}), None)
        left_out = case.find("skipped")
        if bad is not None:
            failed[name] = f"{bad.get('message')}\n{bad.text}"
        elif left_out is not None:
            skipped[name] = left_out.get("message")
        else:
            passed.append(name)
    lines = [line for line in console.splitlines() if line.strip()]
    try:
        found = json.loads(doctor.read_text())["probes"]
    except (OSError, ValueError):
        found = []
    release = release.read_text().strip() if release.is_file() else ""
    return Outcome(release, passed, skipped, failed, found, "\n".join(lines[-40:]))
