"""What needs no BPF: rtnetlink, sock_diag and /proc in place of programs."""
