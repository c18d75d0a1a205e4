"""The tcp probe where BPF is forbidden: sock_diag over netlink, and the kernel's counters in /proc. `mode` is the way in."""
