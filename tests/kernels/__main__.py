"""`make kernels`: every kernel of the matrix and this machine's, one after the other, as a table.

`python tests/kernels [--quick] [--only SERIES,…] [--no-host] [--write]`
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

import guests
import table

from obi_core.host import Host

ROOT = Path(__file__).parents[2]
BUILT_IN = ("network", "syscall", "tcp", "limits")


def host(results, chosen):
    """The same on this machine, without a guest."""
    (results / "release").write_text(Host().release())
    with (results / "doctor.json").open("w") as document:
        subprocess.run([sys.executable, "-m", "obi_core", "doctor", "--json"], cwd=ROOT, stdout=document, check=False)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "kernel and not vm",
        f"--junit-xml={results / 'junit.xml'}",
        *chosen,
    ]
    environ = {**os.environ, "OBI_DOCTOR": str(results / "doctor.json")}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    return guests.outcome(results, done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a selection of the tests, as make test takes it")
    parser.add_argument("--only", default="", help="series, with commas")
    parser.add_argument("--no-host", action="store_true", help="without this machine's own kernel")
    parser.add_argument("--write", action="store_true", help="write docs/kernels.md")
    arguments = parser.parse_args()
    installed = {entry.name for entry in entry_points(group="obi.plugins")}
    plugins = [name for name in BUILT_IN if name in installed]
    wanted = [kernel for kernel in guests.KERNELS if not arguments.only or kernel.series in arguments.only.split(",")]
    all_rows, bad = [], 0
    with tempfile.TemporaryDirectory(prefix="obi-kernels-") as folder:
        runs = [(kernel.series, lambda path, kernel=kernel: guests.boot(kernel, path, guest_words)) for kernel in wanted]
        guest_words = f"-k '{guests.QUICK}' plugins" if arguments.quick else "plugins"
        if not arguments.no_host:
            words = ["-k", guests.QUICK, "plugins"] if arguments.quick else ["plugins"]
            runs.append(("host", lambda path: host(path, words)))
        for series, run in runs:
            results = Path(folder, series)
            results.mkdir()
            try:
                outcome = run(results)
            except guests.LackError as lack:
                all_rows += [(series, name, "", "", "", f"not run: {lack}") for name in plugins]
                bad += 1
                continue
            bad += len(outcome.failed) + (not outcome.passed)
            all_rows += table.rows(outcome.release or series, outcome, plugins)
            for name, message in outcome.failed.items():
                sys.stderr.write(f"{series}: {name}: {message[:2000]}\n")
            if not outcome.passed:
                sys.stderr.write(f"{series}: nothing passed:\n{outcome.console}\n")
            with contextlib.suppress(BrokenPipeError):
                sys.stdout.write("\n".join(" | ".join(row) for row in all_rows[-len(plugins) :]) + "\n")
                sys.stdout.flush()
    page = table.markdown(all_rows, table.today())
    if arguments.write:
        (ROOT / "docs/kernels.md").write_text(page)
    sys.stdout.write(f"\n{page}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
