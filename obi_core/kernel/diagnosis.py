"""Why the kernel said EPERM and the like: what is missing, found out by asking it further.

An errno of bpf() has many causes. Here the causes are tried one by one, in the order in which the kernel looks at them; what
remains unexplained stays an errno, for a guess is worse than none.
"""

import ctypes
import errno
import os
import platform
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from obi_core.facts.files import chosen
from obi_core.host import Host
from obi_core.kernel.lib import libbpf
from obi_core.kernel.sections import capabilities_of

_REFUSALS: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})
_BPF: Final = {"x86_64": 321, "aarch64": 280}
_NO_COMMAND: Final = 0x7FFF
_ARRAY: Final = 2
_PAGE: Final = 4096
_MOST_LOCKED: Final = 64 << 20
"""A limit beyond this is not what stops us, and trying would take as much memory."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What stands behind a refusal."""

    need: str
    """In the words of `KernelError.need`."""
    text: str
    """What to add to `the kernel would not load it: `."""


def bpf_refusal() -> int:
    """Ask bpf() for a command that no kernel knows: 0 if the kernel says so, or the errno of who stands before it."""
    number = _BPF.get(platform.machine())
    if number is None:
        return 0
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    attributes = ctypes.create_string_buffer(8)
    done = syscall(ctypes.c_long(number), ctypes.c_int(_NO_COMMAND), attributes, ctypes.c_uint(len(attributes)))
    refusal = ctypes.get_errno() if done < 0 else 0
    return 0 if refusal == errno.EINVAL else refusal


def memlock_charged() -> bool:
    """Whether map memory counts against the limit for locked memory (before 5.11): a map just beyond it is refused."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit == resource.RLIM_INFINITY or limit > _MOST_LOCKED:
        return False
    made: int = libbpf().bpf_map_create(_ARRAY, b"obi_try", 4, _PAGE, limit // _PAGE + 1, None)
    if made >= 0:
        os.close(made)
    return made == -errno.EPERM


def lacking(host: Host, section: str) -> str:
    """Name the first capability that a program of this section takes and we have not; empty if there is none."""
    return next((name for name in capabilities_of(section) if not host.has_capability(name)), "")


def cause_of(
    number: int,
    section: str,
    host: Host,
    *,
    log: str = "",
    refusal: Callable[[], int] = bpf_refusal,
    charged: Callable[[], bool] = memlock_charged,
) -> Cause | None:
    """Find what stands behind a refused load or attach.

    Args:
        number: Errno, positive.
        section: ELF section of the program; empty for a map.
        host: What this process may.
        log: What the verifier said.
        refusal: See `bpf_refusal`.
        charged: See `memlock_charged`.

    Returns:
        The cause; None if the errno and the log are all there is to say.
    """
    if "bpf_probe_read" in log and chosen(host.sys / "kernel/security/lockdown") == "confidentiality":
        return Cause("lockdown", "the kernel is locked down (confidentiality), so no program may read its memory")
    if number not in _REFUSALS or log:
        return None
    if name := lacking(host, section):
        return Cause(f"cap:{name}", f"CAP_{name.upper()} is missing")
    if refusal():
        return Cause("bpf", "bpf() itself is forbidden to this process, by seccomp or a security module")
    if number == errno.EPERM and charged():
        return Cause("memlock", "the limit for locked memory (ulimit -l) is too small for its maps")
    return None
