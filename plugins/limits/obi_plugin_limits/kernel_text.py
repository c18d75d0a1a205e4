"""Where some of the kernel's functions lie, so that return addresses of a stack have names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from obi_plugin_limits.records import CGROUP_SCOPE, SYSTEM_SCOPE

_MEMORY_CONTROLLER: Final = ("mem_cgroup_out_of_memory", "mem_cgroup_oom", "try_charge_memcg", "mem_cgroup_oom_synchronize")
"""Any of these stands between whoever asked and the OOM killer if a memory cgroup was full; a compiler may inline some."""
_KILLER: Final = "out_of_memory"


class KernelText:
    """Reads /proc/kallsyms when it is asked for the first time: 10 MB of text, some 50 ms, and a few numbers are kept.

    Args:
        proc: Where procfs is mounted.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._kallsyms = proc / "kallsyms"
        self._ranges: Mapping[str, Sequence[range]] | None = None

    def oom_scope(self, stack: Sequence[int]) -> str:
        """Say for whom the OOM killer was called; empty: this stack, or this kernel, does not tell.

        Args:
            stack: Return addresses, innermost first.
        """
        if self._ranges is None:
            self._ranges = self._read()
        if self._holds(_MEMORY_CONTROLLER, stack):
            return CGROUP_SCOPE
        return SYSTEM_SCOPE if self._holds((_KILLER,), stack) and self._ranges.get(_MEMORY_CONTROLLER[0]) else ""

    def _holds(self, names: Iterable[str], stack: Sequence[int]) -> bool:
        ranges = [each for name in names for each in (self._ranges or {}).get(name, ())]
        return any(address in each for address in stack for each in ranges)

    def _read(self) -> Mapping[str, Sequence[range]]:
        wanted = "|".join((*_MEMORY_CONTROLLER, _KILLER))
        # A function may lie in parts: `out_of_memory.cold`. The kernel's own symbols stand in the order of their addresses.
        pattern = re.compile(rf"^([0-9a-f]+) [tT] ({wanted})(?:\.\w+)*\n(?=([0-9a-f]+) )", re.MULTILINE)
        found: dict[str, list[range]] = {}
        try:
            text = self._kallsyms.read_text(errors="replace")
        except OSError:
            return found
        for start, name, end in pattern.findall(text):
            first, after = int(start, 16), int(end, 16)
            if 0 < first < after:  # all are 0 for those who may not see them
                found.setdefault(name, []).append(range(first, after))
        return found
