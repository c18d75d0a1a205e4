"""What the doctor tells of a node, read and not judged: kernel, this process's rights, mounts, where it runs.

Each function takes a `Host` and reads under its injectable `proc` and `sys`. Nothing changes the node, and nothing raises
because a file is missing: what cannot be read is None.
"""

from obi_core.facts.kernel import KernelFacts, kernel_facts
from obi_core.facts.mounts import MountFacts, mount_facts
from obi_core.facts.place import PlaceFacts, place_facts
from obi_core.facts.rights import RightsFacts, rights_facts

__all__ = [
    "KernelFacts",
    "MountFacts",
    "PlaceFacts",
    "RightsFacts",
    "kernel_facts",
    "mount_facts",
    "place_facts",
    "rights_facts",
]
