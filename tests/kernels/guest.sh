#!/bin/bash
# What the guest runs, as root and nothing beside it: the kernel tests of the plugins, on this kernel.
#
#   guest.sh TREE PYTHON RESULTS SECONDS DOCTOR ARG...   paths are the host's own; RESULTS is the only one that can be written;
#                                                        DOCTOR is yes, no, or kept (RESULTS has what it found);
#                                                        ARG... goes to pytest
#
# Leaves in RESULTS: `release`, what `uname -r` says, `doctor.json`, what `obi doctor` found, if it was asked, and `junit.xml`. What it prints goes to the guest's console.
set -euo pipefail
tree=$1 python=$2 results=$3 seconds=$4 doctor=$5
shift 5
host=/mnt
scratch=/run/obi

uname -r >"$results/release"
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up

# The host's files again, this time cached: without, each process reads its interpreter and libraries from the host anew.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose obi "$host"
mkdir -p "$scratch"
for folder in dev proc run sys; do
	mount --rbind "/$folder" "$host/$folder"
done
mount --bind "$results" "$host$results"

# What may be left out of pytest is left out, for emulation is slow. The host waits; should it be gone, `timeout` ends this.
export TMPDIR=$scratch HOME=$scratch OBI_KERNEL=${OBI_KERNEL:-require} PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
export OBI_PATIENCE=6 OBI_BCC_DEADLINE_S=100
export PYTHONPATH=$tree/tests/kernels
if [ "$doctor" = yes ]; then
	# The compiler's libraries, once: read by pages from the host they would cost the first mode that compiles its deadline.
	chroot "$host" sh -c 'cat /usr/lib/*/libbcc.so.* /usr/lib/*/libLLVM-14.so.1 /usr/lib/*/libclang-cpp.so.14 >/dev/null' 2>/dev/null || true
	chroot "$host" env --chdir="$tree" OBI_AGENT__STEP_DEADLINE_S=120 "$python" -m obi_core doctor --json >"$results/doctor.json" || true
fi
[ "$doctor" = no ] || export OBI_DOCTOR=$results/doctor.json
chroot "$host" env --chdir="$tree" timeout --kill-after=10 "$seconds" \
	"$python" -m pytest -p obi -p timeout -p loudly -p no:cacheprovider --color=no --verbose --timeout="$seconds" \
	-m 'kernel and not vm' --junit-xml="$results/junit.xml" "$@"
