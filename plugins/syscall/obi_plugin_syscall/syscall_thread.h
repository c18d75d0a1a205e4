/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The way that costs least, CO-RE only: what is known of a thread stays in its task storage, the call that it is in and the slot
 * of its owner. It ends with the thread, so one that dies in mid-call leaves nothing behind.
 */
#ifndef OBI_SYSCALL_THREAD_H
#define OBI_SYSCALL_THREAD_H

/* Grows when user space has taken slots back: whoever remembers one looks again. */
OBI_LIVE(u32, syscall_epoch);

struct syscall_thread {
	struct syscall_start start;
	/* By whom the slot was found; looked at in each call, for exec, prctl and a move to another cgroup change it. */
	u64 cgroup_id;
	u64 comm[2];
	u32 slot;
	u32 epoch;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct syscall_thread);
} syscall_threads SEC(".maps");

static __always_inline struct syscall_thread *syscall_thread_of(struct task_struct *task)
{
	return bpf_task_storage_get(&syscall_threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline u64 syscall_cgroup_of(struct task_struct *task)
{
	if (!obi_cgroup_v1)
		return bpf_get_current_cgroup_id();
	return task->cgroups->subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)]
		->cgroup->kn->id;
}

/* Without a cache, for want of memory or because what is cached is old. */
static __always_inline u32 syscall_slot_now(void)
{
	struct obi_owner owner;

	obi_owner_now(&owner);
	if (owner.tgid == OBI_LIVE_GET(u32, syscall_agent))
		return SYSCALL_OWN_SLOT;
	return syscall_find_slot(&owner);
}

static __always_inline u32 syscall_slot_of(struct task_struct *task, struct syscall_thread *thread)
{
	const u64 *comm = (const u64 *)task->group_leader->comm;
	u64 cgroup_id = syscall_cgroup_of(task);
	u64 first = comm[0], second = comm[1];
	u32 epoch = OBI_LIVE_GET(u32, syscall_epoch);

	if (thread->epoch == epoch && thread->cgroup_id == cgroup_id && thread->comm[0] == first &&
	    thread->comm[1] == second)
		return thread->slot;
	thread->slot = syscall_slot_now();
	thread->epoch = epoch;
	thread->cgroup_id = cgroup_id;
	thread->comm[0] = first;
	thread->comm[1] = second;
	return thread->slot;
}

/* A 32-bit call: x86 marks it in the status, arm64 knows 32-bit tasks. */
static __always_inline bool syscall_is_compat(struct task_struct *task)
{
	if (bpf_core_field_exists(task->thread_info.status))
		return task->thread_info.status & OBI_TS_COMPAT;
	return task->thread_info.flags >> OBI_TIF_32BIT & 1;
}

static __always_inline u64 syscall_number_of(struct pt_regs *regs)
{
	if (bpf_core_field_exists(regs->orig_ax))
		return regs->orig_ax;
	return (s64)((struct pt_regs___number *)regs)->syscallno;
}

static __always_inline void syscall_returned(struct task_struct *task, struct syscall_call *call)
{
	struct syscall_thread *thread = syscall_thread_of(task);

	if (thread) {
		call->slot = syscall_slot_of(task, thread);
		call->start = thread->start;
		thread->start.number = 0;
	} else {
		call->slot = syscall_slot_now();
	}
	syscall_count(call);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(syscall_enter_btf, struct pt_regs *regs, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct syscall_call call = {};
	struct syscall_thread *thread;

	syscall_look_up(&call, number, syscall_is_compat(task));
	if (!(call.entry & SYSCALL_TIMED))
		return 0;
	thread = syscall_thread_of(task);
	if (thread)
		syscall_begin(&call, &thread->start);
	else
		syscall_lose_start();
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(syscall_exit_btf, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct syscall_call call = { .result = result };

	syscall_look_up(&call, syscall_number_of(regs), syscall_is_compat(task));
	if (call.entry & SYSCALL_FORKS && !result)
		return 0;
	syscall_returned(task, &call);
	return 0;
}

/* exit and exit_group do not come back: the last call of a thread that ends by itself is one of them. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(syscall_end_btf, struct task_struct *ending)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct syscall_call call = {};

	syscall_look_up(&call, syscall_number_of((struct pt_regs *)bpf_task_pt_regs(task)),
			syscall_is_compat(task));
	if (call.entry & SYSCALL_ENDS)
		syscall_returned(task, &call);
	return 0;
}

/* The process that reads, as the kernel knows it: in a pid namespace getpid() says another number. */
OBI_RECORD(syscall_self, u64);

SEC("iter/bpf_map_elem")
int syscall_self(struct bpf_iter__bpf_map_elem *ctx)
{
	u64 tgid = bpf_get_current_pid_tgid() >> 32;

	if (ctx->key)
		bpf_seq_write(ctx->meta->seq, &tgid, sizeof(tgid));
	return 0;
}

#endif /* OBI_SYSCALL_THREAD_H */
