"""Whether a link still attaches its program: somebody else, or the end of what it was attached to, may have undone it.

Source: `struct bpf_link_info` (include/uapi/linux/bpf.h). A link that was detached keeps its descriptor and loses its target:
the cgroup's id or the interface's number is 0. Links of tracing programs cannot be detached but by closing them.
"""

import ctypes
import struct
from typing import Final

from obi_core.kernel.lib import libbpf

_INFO_BYTES: Final = 64
_KIND: Final = struct.Struct("<III")
"""type, id, prog_id."""
_TARGET: Final[dict[int, struct.Struct]] = {
    3: struct.Struct("<Q"),  # BPF_LINK_TYPE_CGROUP: cgroup_id
    6: struct.Struct("<I"),  # BPF_LINK_TYPE_XDP: ifindex
    11: struct.Struct("<I"),  # BPF_LINK_TYPE_TCX: ifindex
}
_TARGET_OFFSET: Final = 16


def is_attached(fd: int) -> bool:
    """Whether the link behind a descriptor attaches its program; True where the kernel does not say.

    Kernels before 5.8 tell nothing of links, and before 5.15 a tracepoint's is the perf event itself.
    """
    info = ctypes.create_string_buffer(_INFO_BYTES)
    length = ctypes.c_uint32(_INFO_BYTES)
    if libbpf().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length)) < 0:
        return True
    kind, _, _ = _KIND.unpack_from(info)
    target = _TARGET.get(kind)
    return target is None or target.unpack_from(info, _TARGET_OFFSET)[0] != 0
