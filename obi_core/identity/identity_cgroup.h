/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Paths of new cgroups, of the hierarchy that tells containers apart. CO-RE only. */
#ifndef IDENTITY_CGROUP_H
#define IDENTITY_CGROUP_H

#define IDENTITY_CGROUP_PATH 512

struct identity_path {
	char path[IDENTITY_CGROUP_PATH]; /* from the root of its hierarchy */
};

OBI_LRU_HASH(identity_cgroups, u64, struct identity_path, 1024);
OBI_PERCPU_ARRAY(identity_path_scratch, u32, struct identity_path, 1);

/* Ids of the hierarchies are not told apart in them: the path is kept only where it is the memory controller's, or v2's. */
static __always_inline bool identity_wanted(struct cgroup *cgroup)
{
	u32 memory = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	struct cgroup_root *root = BPF_CORE_READ(cgroup, root);

	if (!obi_cgroup_v1)
		return BPF_CORE_READ(root, hierarchy_id) == 0;
	return BPF_CORE_READ(root, subsys_mask) & (1 << memory);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(identity_mkdir, struct cgroup *cgroup, const char *path)
{
	struct identity_path *scratch;
	u64 id = BPF_CORE_READ(cgroup, kn, id);
	u32 zero = 0;

	scratch = OBI_LOOKUP(identity_path_scratch, &zero);
	if (!scratch || !identity_wanted(cgroup))
		return 0;
	__builtin_memset(scratch, 0, sizeof(*scratch));
	if (bpf_probe_read_kernel_str(scratch->path, IDENTITY_CGROUP_PATH, path) > 0)
		OBI_UPDATE(identity_cgroups, &id, scratch);
	return 0;
}

#endif /* IDENTITY_CGROUP_H */
