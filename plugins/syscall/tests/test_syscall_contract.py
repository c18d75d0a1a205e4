"""The syscall probe keeps the contract."""

import subprocess
import sys

from obi_core.testing.contract import ProbeContract
from obi_plugin_syscall.probe import SyscallProbe

_NAME = "obisyscon"
_PROGRAM = f"""
import os
open("/proc/self/comm", "w").write("{_NAME}")
for _ in range(23):
    try:
        os.open("/nonexistent", os.O_RDONLY)
    except FileNotFoundError:
        os.getppid()
"""


class TestSyscallContract(ProbeContract):
    probe = SyscallProbe
    expects = ("obi.syscall.calls", "obi.syscall.errors", "obi.syscall.duration", "view calls")

    def provoke(self):
        # In a process of its own: the calls of this one, which is the agent here, are left out.
        subprocess.run([sys.executable, "-c", _PROGRAM], check=True, timeout=20)

    def mine(self, seen):
        return seen.owner.comm == _NAME
