"""Everything a person can get wrong: one line on standard error, the right status, no traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETPRIV = ("setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")
NOBODY = (*SETPRIV, "--reuid=65534", "--regid=65534", "--clear-groups")

IDLE = """
import pluggy
from obi_core import Instrument, Kind, Mode, Probe
class Idle(Probe):
    name = "idle"
    instruments = (Instrument("obi.idle.x", Kind.COUNTER, "{x}", "X."),)
    modes = (Mode("only"),)
    def collect(self):
        return ()
@pluggy.HookimplMarker("obi")
def obi_register_probes():
    return [Idle]
"""


def complaint(done, status):
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stderr.count("\n")) == (status, 1), done.stderr
    assert done.stderr.startswith("obi: ")
    return done.stderr.removeprefix("obi: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "a command is missing; `obi --help` lists what there is"),
        (("rnu",), 'no command "rnu"; did you mean "run"?'),
        (
            ("qqqq",),
            (
                'no command "qqqq"; known: run, plugins, doctor, health, programs, maps, cardinality, trace, config,'
                " emit-known, test-export, version"
            ),
        ),
        (("run", "--intervall", "2s"), "unrecognized arguments: --intervall 2s; `obi --help` lists what there is"),
        (("run", "--interval"), "argument --interval: expected one argument; `obi run --help` lists what there is"),
        (("plugins",), "the following arguments are required: ACTION; `obi plugins --help` lists what there is"),
        (
            ("run", "--interval", "soon"),
            '--interval: agent.interval_s: "soon" is not allowed; it must be a duration, such as 2s, 500ms or 1m',
        ),
        (
            ("run", "--view", "wide"),
            "--view: agent.view: \"wide\" is not allowed; it must be 'auto', 'table', 'lines' or 'off'",
        ),
        (
            ("run", "--config", "/no/such"),
            "/no/such: no such directory; --config and OBI_CONFIG name a directory with *.yaml files",
        ),
        (("run", "--config", ""), "--config: names no directory"),
    ],
)
def test_a_wrong_command_line_is_status_2(obi, words, expected):
    assert complaint(obi(*words), 2) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--for", "soon"), "--for: 'soon' is not allowed; it must be a time up to 7 days, such as 30s or 5m"),
        (("--set", "network"), "--set: 'network' is not allowed; it must be SECTION.KEY=VALUE"),
        (("--plugins", "tcp"), "--plugins: no listed probe can trace (listed: tcp); list one that can, such as network"),
    ],
)
def test_what_cannot_be_traced_is_told(obi, words, message):
    assert complaint(obi("trace", *words), 2) == message


@pytest.mark.parametrize("command", [("run",), ("doctor", "--json"), ("plugins", "list", "--json")])
def test_a_mistake_in_a_file_names_file_line_and_nearest_key(obi, tmp_path, command):
    (tmp_path / "obi.yaml").write_text("agent:\n  intervall_s: 2s\n")
    assert complaint(obi(*command, "--config", tmp_path), 2) == (
        f'{tmp_path}/obi.yaml:2: unknown key "intervall_s" in section "agent"; did you mean "interval_s"?'
    )


def test_the_directory_may_come_from_a_variable(obi, tmp_path):
    assert complaint(obi("doctor", OBI_CONFIG=str(tmp_path)), 2) == f"{tmp_path}: no *.yaml file in this directory"


@pytest.mark.parametrize("command", [("run",), ("doctor",)])
def test_a_mistake_in_a_probe_s_section_is_found(obi, tmp_path, command):
    (tmp_path / "tcp.yaml").write_text("tcp:\n\n  max_socket: 2\n")
    assert complaint(obi(*command, "--config", tmp_path), 2) == (
        f'{tmp_path}/tcp.yaml:3: unknown key "max_socket" in section "tcp"; did you mean "max_sockets"?'
    )


def test_an_unknown_variable_names_the_nearest(obi):
    assert complaint(obi("doctor", OBI_METRICS__LISTN=":1"), 2) == (
        'OBI_METRICS__LISTN: unknown variable; did you mean "OBI_METRICS__LISTEN"?'
    )
    assert complaint(obi("doctor", OBI_TCP__INTERVALS="1"), 2) == (
        'OBI_TCP__INTERVALS: unknown variable; did you mean "OBI_TCP__INTERVAL_S"?'
    )


@pytest.mark.parametrize("command", [("run",), ("doctor",)])
def test_a_section_of_nobody_in_a_variable_is_refused(obi, command):
    line = complaint(obi(*command, OBI_TPC__INTERVAL_S="1"), 2)
    assert line == 'OBI_TPC__INTERVAL_S: unknown variable: there is no section "tpc"; did you mean "tcp"?'


@pytest.mark.parametrize("command", [("run",), ("doctor",), ("plugins", "list")])
def test_an_unknown_plugin_names_flag_or_file_and_the_nearest(obi, tmp_path, command):
    assert complaint(obi(*command, "--plugins", "tpc"), 2) == '--plugins: no plugin "tpc" is installed; nearest is "tcp"'
    (tmp_path / "obi.yaml").write_text("\nagent:\n  plugins: [tpc]\n")
    assert complaint(obi(*command, "--config", tmp_path), 2) == (
        f'{tmp_path}/obi.yaml:3: no plugin "tpc" is installed; nearest is "tcp"'
    )


@pytest.mark.parametrize("flag", ["--http-listen", "--metrics-listen"])
def test_a_port_that_is_taken_names_its_holder_and_the_flag_that_moves_it(obi, plugin_folder, flag):
    folder = plugin_folder("idle", IDLE)
    other = {"--http-listen": "--metrics-listen", "--metrics-listen": "--http-listen"}[flag]
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        words = ("run", "--plugins", "idle", flag, address, other, "127.0.0.1:0", "--log-level", "error")
        line = complaint(obi(*words, PYTHONPATH=str(folder)), 1)
    comm = Path("/proc/self/comm").read_text().strip()
    assert address in line
    assert f"taken by {comm} (pid {os.getpid()})" in line
    assert flag in line
    assert f"OBI_{flag.strip('-').replace('-', '__').upper()}" in line


def unprivileged(prefix):
    if os.geteuid() != 0:
        return ()
    if "--reuid=65534" in prefix and not all(path.stat().st_mode & 0o005 == 0o005 for path in (ROOT, *ROOT.parents)):
        # Nobody could not even read the program: nothing would be shown. The same test runs without capabilities, as root.
        pytest.skip("the tree is not readable for others")  # nobody could read the program itself
    return prefix


@pytest.mark.parametrize("prefix", [SETPRIV, NOBODY], ids=["no-caps", "nobody"])
def test_without_capabilities_run_says_what_is_missing_and_how_to_get_it_and_goes_on_without_bpf(obi, prefix):
    ports = ("--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    done = obi("run", *ports, prefix=("timeout", "--preserve-status", "-s", "TERM", "4", *unprivileged(prefix)))
    assert done.returncode == 0, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if "level=warning" in line and "probe tcp:" in line]
    (unnamed,) = [line for line in done.stderr.splitlines() if "logger=obi.identity" in line]
    assert "not known: names beyond 15 bytes of programs that have ended; containers that lived for less than " in unnamed
    assert "cap:bpf is missing: run it as root, or give the process CAP_BPF" in unnamed
    assert "probe tcp: attached in mode netlink: tp_btf" in warning
    assert "cap:bpf is missing: run it as root, or give the process CAP_BPF; cap:perfmon is missing: run it as " in warning
    assert "degraded, it loses: obi.tcp.handshake.duration; obi.tcp.connection.duration; " in warning
    assert "Traceback" not in done.stderr


def test_a_probe_that_needs_bpf_and_does_not_get_it_ends_run_with_one_line(obi, plugin_folder):
    folder = plugin_folder("idle", IDLE.replace('Mode("only")', 'Mode("only", needs=("cap:bpf",))'))
    line = complaint(obi("run", "--plugins", "idle", prefix=unprivileged(SETPRIV), PYTHONPATH=str(folder)), 1)
    assert line == "no probe can run here: idle: cap:bpf is missing: run it as root, or give the process CAP_BPF"


def test_without_capabilities_the_doctor_says_so_per_mode_with_status_1(obi):
    done = obi("doctor", prefix=unprivileged(SETPRIV))
    assert done.returncode == 1
    assert "tcp (obi-plugin-tcp " in done.stdout
    assert "no: missing_capability: " in done.stdout
    assert "Traceback" not in done.stderr


HIDE = ("unshare", "-m", "sh", "-c", 'umount -l /sys/kernel/tracing; mount -t tmpfs none /sys/kernel; exec "$@"', "sh")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide things")
def test_without_btf_and_tracefs_doctor_and_run_name_both(obi):
    done = obi("doctor", prefix=HIDE)
    assert "BTF no, tracefs no" in done.stdout
    assert "no: no_btf: btf is missing: " in done.stdout
    assert (done.returncode, done.stderr.count("Traceback")) == (1, 0)
    ports = ("--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    ended = obi("run", *ports, prefix=("timeout", "--preserve-status", "-s", "TERM", "4", *HIDE))
    warnings = [line for line in ended.stderr.splitlines() if "level=warning" in line]
    tracefs, degraded = [line for line in warnings if "logger=obi.cli" in line or "probe tcp:" in line]
    assert "tracefs is not mounted and this kernel has none (/sys/kernel/tracing does not exist)" in tracefs
    assert "attached in mode netlink: tp_btf: btf is missing: use a kernel built with CONFIG_DEBUG_INFO_BTF=y" in degraded
    assert ended.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_an_absent_tracefs_is_mounted_by_run_and_for_the_time_of_its_examination_by_the_doctor(obi):
    script = (
        'umount -l /sys/kernel/tracing; "$@" | grep -c "tracefs /sys/kernel/tracing"'
        '; grep -c "^tracefs /sys/kernel/tracing " /proc/mounts'
    )
    assert obi("doctor", prefix=("unshare", "-m", "sh", "-c", script, "sh")).stdout == "1\n0\n"
    script = 'umount -l /sys/kernel/tracing; "$@" >/dev/null 2>&1; grep -c "^tracefs /sys/kernel/tracing " /proc/mounts'
    ports = ("--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--view", "off")
    shell = ("unshare", "-m", "sh", "-c", f'set -- timeout --preserve-status -s TERM 3 "$@"; {script}', "sh")
    assert obi("run", *ports, prefix=shell).stdout == "1\n"


def test_when_nobody_reads_the_output_it_ends_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "obi_core", "plugins", "list"],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
