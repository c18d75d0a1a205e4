"""The kernel's run-time statistics of BPF programs: host-wide, some 20 ns a run while they are on, so on for short whiles."""

import ctypes
import os
from typing import Final

from obi_core.errors import HostError, errno_name
from obi_core.host import Host
from obi_core.kernel.lib import libbpf

RUN_NS: Final = 20
"""What counting costs per run, ns; measured."""
_RUN_TIME: Final = 0
"""BPF_STATS_RUN_TIME of `enum bpf_stats_type`."""


class RuntimeStats:
    """Switches the statistics on and off; they are on while anybody has them on.

    Args:
        host: Whose setting `kernel.bpf_stats_enabled` to read.

    Source: BPF_ENABLE_STATS (Linux 5.8), which needs CAP_SYS_ADMIN; CAP_BPF is not enough.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._fd = -1
        self.problem = ""
        """Why they cannot be switched on; empty if they can, or nobody has tried."""

    @property
    def always_on(self) -> bool:
        """Whether the administrator has them on for good."""
        try:
            return (self._host.proc / "sys/kernel/bpf_stats_enabled").read_text().strip() == "1"
        except OSError:
            return False

    def start(self) -> bool:
        """Switch them on; False, and `problem` says why, if that is not allowed."""
        if self._fd >= 0 or self.always_on:
            return True
        ctypes.set_errno(0)
        try:
            fd = int(libbpf().bpf_enable_stats(_RUN_TIME))
        except HostError as error:
            self.problem = str(error)
            return False
        if fd < 0:
            cause = f"BPF_ENABLE_STATS [{errno_name(-fd)}]"
            self.problem = f"{cause}: it needs CAP_SYS_ADMIN; sysctl kernel.bpf_stats_enabled=1 does without, at 20 ns a run"
            return False
        self._fd, self.problem = fd, ""
        return True

    def stop(self) -> None:
        """Switch them off. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
