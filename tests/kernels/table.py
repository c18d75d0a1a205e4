"""The matrix as a table: by kernel and probe the mode, what it loses, what was tested there."""

from datetime import date

HEAD = ("kernel", "probe", "best mode", "loses", "other modes", "tests")


def rows(release, outcome, plugins):
    """One row per probe.

    Args:
        release: `uname -r`, or what was asked for if the guest did not come up.
        outcome: See `outcomes.Outcome`.
        plugins: Names of the probes that should be there.
    """
    found = {probe["name"]: probe for probe in outcome.probes}
    for name in plugins:
        probe = found.get(name)
        if probe is None:
            yield (release, name, "none", "", "", "no result came back")
            continue
        best = probe["mode"] or "none"
        others = [_mode(mode) for mode in probe["modes"] if mode["name"] != best]
        yield (release, name, best, _losses(probe), "; ".join(others), tests(name, outcome))


def _mode(mode):
    """A mode that is not the best: what it loses, or the code of why it is refused."""
    if not mode["ok"]:
        return f"{mode['name']}: {mode['reason']}"
    return f"{mode['name']}: works" + (f", loses {len(mode['loses'])}" if mode["loses"] else "")


def _losses(probe):
    best = next((mode for mode in probe["modes"] if mode["name"] == probe["mode"]), {"refused": []})
    codes = sorted({each["reason"] for each in best["refused"]})
    return "; ".join(probe["loses"]) + (f" ({', '.join(codes)})" if codes else "") or "nothing"


def tests(name, outcome):
    """How many of a probe's tests passed there, and each reason for which one was left out."""

    def of(cases):
        return [case for case in cases if f"plugins.{name}." in case]

    parts = [f"{len(of(outcome.passed))} passed"]
    if failed := of(outcome.failed):
        parts.append(f"{len(failed)} FAILED")
    if skipped := of(outcome.skipped):
        reasons = sorted({reason(outcome.skipped[case]) for case in skipped})
        parts.append(f"{len(skipped)} left out ({', '.join(reasons)})")
    return ", ".join(parts)


def reason(message):
    """The need or the code that a skipped test names: `btf` of `btf is missing: …`, `load_refused` of `load_refused: …`."""
    return message.partition(" is missing")[0] if " is missing" in message else message.partition(":")[0]


def markdown(all_rows, today):
    """The page docs/kernels.md."""
    lines = [
        "# Kernels",
        "",
        f"Made by `make kernels` on {today.isoformat()}; do not edit. Each row is what `obi doctor` found on that",
        "kernel, and what the plugins' own kernel tests (contract and exact counts, in every mode it offers; `MATRIX` in",
        "`tests/kernels/guests.py` says which) said there. The last kernel is that of the machine that made the page.",
        "Mode `bcc` compiles there against headers of Debian's 6.1: its texts read no kernel struct.",
        "Codes: [obi-troubleshooting.md](obi-troubleshooting.md).",
        "",
        f"| {' | '.join(HEAD)} |",
        "|" + "---|" * len(HEAD),
        *(f"| {' | '.join(cell or ' ' for cell in row)} |" for row in all_rows),
        "",
    ]
    return "\n".join(lines)


def today():
    """The date of the page."""
    return date.today()  # noqa: DTZ011 - a day is enough, and this machine's is meant
