/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Programs by the name and cgroup that their owner has, and processes with their command lines. CO-RE only. */
#ifndef IDENTITY_EXEC_H
#define IDENTITY_EXEC_H

#define IDENTITY_COMM 16
#define IDENTITY_PATH 256
#define IDENTITY_ARGS 512

/* 0: command lines are not kept. */
OBI_SETTING(u32, identity_commands, 0);

struct identity_name_key {
	u64 cgroup_id;
	char comm[IDENTITY_COMM];
};
_Static_assert(sizeof(struct identity_name_key) == 24, "no padding");

struct identity_name {
	char path[IDENTITY_PATH]; /* what was exec'ed, zeros behind it */
	u32 several; /* 1: several programs share this cgroup and comm */
	u32 _pad;
};

struct identity_exec_key {
	u64 start_ns;
	u32 tgid;
	u32 _pad;
};
_Static_assert(sizeof(struct identity_exec_key) == 16, "no padding");

struct identity_exec {
	u32 vpid; /* in the innermost pid namespace */
	u32 args_len;
	char path[IDENTITY_PATH];
	u8 args[IDENTITY_ARGS]; /* separated by NUL, so no string */
};

struct identity_scratch {
	struct identity_name name;
	struct identity_exec exec;
};

OBI_LRU_HASH(identity_names, struct identity_name_key, struct identity_name, 1024);
OBI_LRU_HASH(identity_execs, struct identity_exec_key, struct identity_exec, 4096);
OBI_PERCPU_ARRAY(identity_scratch, u32, struct identity_scratch, 1);

static __always_inline void identity_keep_name(const struct obi_owner *owner,
					       const struct identity_name *name)
{
	struct identity_name_key key = {};
	struct identity_name *known;
	u32 at;

	key.cgroup_id = owner->cgroup_id;
	__builtin_memcpy(key.comm, owner->comm, IDENTITY_COMM);
	known = OBI_LOOKUP(identity_names, &key);
	if (!known) {
		OBI_UPDATE(identity_names, &key, name);
		return;
	}
	for (at = 0; at < IDENTITY_PATH / 8; at++)
		if (((u64 *)known->path)[at] != ((const u64 *)name->path)[at])
			known->several = 1;
}

static __always_inline void identity_keep_exec(struct task_struct *task,
					       const struct obi_owner *owner,
					       struct identity_scratch *scratch)
{
	struct identity_exec_key key = { .start_ns = owner->start_ns, .tgid = owner->tgid };
	struct identity_exec *exec = &scratch->exec;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	u64 start = BPF_CORE_READ(mm, arg_start), end = BPF_CORE_READ(mm, arg_end);
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	u64 length = end - start;

	__builtin_memset(exec, 0, sizeof(*exec));
	__builtin_memcpy(exec->path, scratch->name.path, IDENTITY_PATH);
	bpf_probe_read_kernel(&exec->vpid, sizeof(exec->vpid), &pid->numbers[level & 31].nr);
	if (length > IDENTITY_ARGS)
		length = IDENTITY_ARGS;
	if (length && !bpf_probe_read_user(exec->args, length, (void *)start))
		exec->args_len = length;
	OBI_UPDATE(identity_execs, &key, exec);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(identity_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct identity_scratch *scratch;
	struct obi_owner owner = {};
	u32 zero = 0;

	scratch = OBI_LOOKUP(identity_scratch, &zero);
	if (!scratch)
		return 0;
	obi_owner_now(&owner);
	/* A shorter comm is the whole name. */
	if (!identity_commands && !owner.comm[IDENTITY_COMM - 2])
		return 0;
	__builtin_memset(&scratch->name, 0, sizeof(scratch->name));
	if (bpf_probe_read_kernel_str(scratch->name.path, IDENTITY_PATH,
				      BPF_CORE_READ(bprm, filename)) <= 0)
		return 0;
	if (identity_commands)
		identity_keep_exec(task, &owner, scratch);
	if (owner.comm[IDENTITY_COMM - 2])
		identity_keep_name(&owner, &scratch->name);
	return 0;
}

#endif /* IDENTITY_EXEC_H */
