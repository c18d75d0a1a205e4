"""Sinks: what carries the bus's data out. Layer 6; they come in by the hook in `builtin`, like anyone's."""
