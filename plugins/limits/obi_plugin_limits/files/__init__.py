"""What the files of cgroups and of the node say; the same in every mode of the probe, with BPF and without."""
