"""Who is who: which process and container an owner is, and what this agent says of itself."""

from obi_core.identity.cgroup import Both, CgroupResolver
from obi_core.identity.process import ProcessResolver
from obi_core.identity.resource import resource_attributes
from obi_core.identity.tracking import Tracking

__all__ = ["Both", "CgroupResolver", "ProcessResolver", "Tracking", "resource_attributes"]
