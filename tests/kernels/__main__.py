"""`make kernels`: every kernel of the matrix and this machine's, one after the other, as a table.

`python tests/kernels [--only SERIES,…] [--no-host] [--quick | --full] [--results DIRECTORY [--again]] [--write]`
"""

import argparse
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

import guests
import outcomes
import table

from obi_core.host import Host

ROOT = Path(__file__).parents[2]
BUILT_IN = ("network", "syscall", "tcp", "limits")
HERE = "host"


def host(results, words):
    """The same on this machine, without a guest."""
    (results / "release").write_text(Host().release())
    with (results / "doctor.json").open("w") as document:
        subprocess.run([sys.executable, "-m", "obi_core", "doctor", "--json"], cwd=ROOT, stdout=document, check=False)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "kernel and not vm", f"--junit-xml={results / 'junit.xml'}", *words]
    environ = {**os.environ, "OBI_DOCTOR": str(results / "doctor.json")}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    return outcomes.outcome(results, done.stdout)


def run(series, results, chosen, *, again):
    """Test one kernel, unless its results are there already; of these, what failed is run again if that is wanted."""
    found = outcomes.kept(results)
    if found is not None and again and found.failed and series != HERE:
        failed = {name.partition("[")[0].rpartition("::") for name in found.failed}
        names = sorted(f"({where.rpartition('.')[2]} and {function})" for where, _, function in failed)
        later = next(path for number in itertools.count(1) if not (path := results / outcomes.AGAIN.format(number)).exists())
        later.mkdir()
        shutil.copy(results / "doctor.json", later)
        kernel = next(kernel for kernel in guests.KERNELS if kernel.series == series)
        guests.boot(kernel, later, " or ".join(names), doctor="kept")
        return outcomes.kept(results)
    if found is not None:
        return found
    results.mkdir(parents=True, exist_ok=True)
    if series == HERE:
        return host(results, ["-k", chosen, "plugins"] if chosen else ["plugins"])
    kernel = next(kernel for kernel in guests.KERNELS if kernel.series == series)
    return guests.boot(kernel, results, chosen, doctor="yes")


def report(series, outcome):
    """Say what failed."""
    for name, message in outcome.failed.items():
        sys.stderr.write(f"{series}: {name}: {message[:2000]}\n")
    if not outcome.passed:
        sys.stderr.write(f"{series}: nothing passed:\n{outcome.console}\n")


def main():
    parser = argparse.ArgumentParser()
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", action="store_const", const=guests.QUICK, dest="chosen", help="what make test takes")
    form.add_argument("--full", action="store_const", const=guests.ALL, dest="chosen", help="every test of the plugins")
    parser.add_argument("--only", default="", help="series, with commas")
    parser.add_argument("--no-host", action="store_true", help="without this machine's own kernel")
    parser.add_argument(
        "--results", type=Path, help="directory that keeps what each run left; a kernel found there is not run"
    )
    parser.add_argument("--again", action="store_true", help="of the kernels found there, run what failed once more")
    parser.add_argument("--write", action="store_true", help="write docs/kernels.md")
    parser.set_defaults(chosen=guests.MATRIX)
    arguments = parser.parse_args()
    installed = {entry.name for entry in entry_points(group="obi.plugins")}
    plugins = [name for name in BUILT_IN if name in installed]
    only = arguments.only.split(",") if arguments.only else [*(kernel.series for kernel in guests.KERNELS), HERE]
    wanted = [series for series in only if not (arguments.no_host and series == HERE)]
    all_rows, bad = [], 0
    with tempfile.TemporaryDirectory(prefix="obi-kernels-") as folder:
        for series in wanted:
            try:
                outcome = run(series, (arguments.results or Path(folder)) / series, arguments.chosen, again=arguments.again)
            except guests.LackError as lack:
                all_rows += [(series, name, "", "", "", f"not run: {lack}") for name in plugins]
                bad += 1
                continue
            bad += len(outcome.failed) + (not outcome.passed)
            all_rows += table.rows(outcome.release or series, outcome, plugins)
            report(series, outcome)
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
