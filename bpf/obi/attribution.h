/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Who is running now: never a pid alone.
 *
 * Call obi_owner_now() only where the current task is the cause: in a system call or an iterator, never in softirq.
 */
#ifndef OBI_ATTRIBUTION_H
#define OBI_ATTRIBUTION_H

#include <obi/settings.h>

/* 1: read the v1 memory controller's cgroup. On v1 and hybrid nodes all tasks share one v2 cgroup. */
OBI_SETTING(u32, obi_cgroup_v1, 0);

/* 0: keys of aggregates fold all processes of one name and cgroup, so a fork storm cannot fill a map. */
OBI_SETTING(u32, obi_by_process, 0);

/* Process id of the agent itself, so that a program can leave out what the agent causes; 0: not known. */
OBI_SETTING(u32, obi_agent_tgid, 0);

struct obi_owner {
	u64 cgroup_id;
	u64 start_ns; /* of the group leader, boot clock; 0 under BCC */
	u32 tgid;
	u32 _pad;
	char comm[16]; /* of the group leader; of the thread under BCC */
};

#ifdef OBI_BCC
static inline void obi_owner_now(struct obi_owner *owner)
{
	owner->cgroup_id = bpf_get_current_cgroup_id();
	owner->start_ns = 0;
	owner->tgid = bpf_get_current_pid_tgid() >> 32;
	owner->_pad = 0;
	/* Some kernels (v6.1 is one) leave what stood behind the NUL: one name would be many keys. */
	__builtin_memset(owner->comm, 0, sizeof(owner->comm));
	bpf_get_current_comm(&owner->comm, sizeof(owner->comm));
}
#else
static __always_inline u64 obi_cgroup_id(struct task_struct *task)
{
	struct cgroup_subsys_state *memory;
	struct css_set *cgroups;

	cgroups = BPF_CORE_READ(task, cgroups);
	if (!obi_cgroup_v1)
		return BPF_CORE_READ(cgroups, dfl_cgrp, kn, id);

	if (bpf_probe_read_kernel(&memory, sizeof(memory),
				  (void *)cgroups + bpf_core_field_offset(struct css_set, subsys) +
					  bpf_core_enum_value(enum cgroup_subsys_id,
							      memory_cgrp_id) *
						  sizeof(memory)))
		return 0;
	return BPF_CORE_READ(memory, cgroup, kn, id);
}

/*
 * Older kernels leave an older name's end behind a shorter one: stop at the NUL, and let zeros follow whatever stood there before, so
 * that one name is one key.
 */
static __always_inline void obi_comm_of(struct task_struct *leader, char comm[16])
{
	__builtin_memset(comm, 0, 16);
	bpf_probe_read_kernel_str(comm, 16, leader->comm);
}

static __always_inline void obi_owner_of(struct task_struct *task, struct obi_owner *owner)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	owner->cgroup_id = obi_cgroup_id(task);
	owner->start_ns = BPF_CORE_READ(leader, start_boottime);
	owner->tgid = BPF_CORE_READ(task, tgid);
	owner->_pad = 0;
	obi_comm_of(leader, owner->comm);
}

static __always_inline void obi_owner_now(struct obi_owner *owner)
{
	struct task_struct *task, *leader;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		/* Before 5.11. */
		obi_owner_of((struct task_struct *)bpf_get_current_task(), owner);
		return;
	}
	/* The verifier knows this task: plain loads instead of a helper call each. */
	task = bpf_get_current_task_btf();
	leader = task->group_leader;
	if (obi_cgroup_v1)
		owner->cgroup_id =
			task->cgroups
				->subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)]
				->cgroup->kn->id;
	else
		owner->cgroup_id = bpf_get_current_cgroup_id();
	owner->start_ns = leader->start_boottime;
	owner->tgid = task->tgid;
	owner->_pad = 0;
	obi_comm_of(leader, owner->comm);
}
#endif

/* Owner as the key of an aggregate: without the process, unless the settings ask for it. */
static inline __attribute__((always_inline)) void obi_owner_key(struct obi_owner *key,
								const struct obi_owner *owner)
{
	*key = *owner;
	if (!obi_by_process) {
		key->start_ns = 0;
		key->tgid = 0;
	}
}

#endif /* OBI_ATTRIBUTION_H */
