"""A probe from entry point to detach: registry, runner, agent, health."""
