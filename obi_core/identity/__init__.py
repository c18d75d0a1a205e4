"""Who is who: which process an owner is, and what this agent says of itself."""

from obi_core.identity.process import ProcessResolver
from obi_core.identity.resource import resource_attributes

__all__ = ["ProcessResolver", "resource_attributes"]
