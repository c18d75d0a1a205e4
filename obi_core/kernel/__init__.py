"""Everything that speaks to the kernel: loaders, maps, links, and what a host allows."""
