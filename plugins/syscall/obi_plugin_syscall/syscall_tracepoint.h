/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The perf tracepoints: where there is no task storage for tracing programs, and under BCC. Owners are found anew at each call,
 * and calls under way stand in an LRU by thread: a thread that dies in mid-call is taken out by syscall_end_tp.
 */
#ifndef OBI_SYSCALL_TRACEPOINT_H
#define OBI_SYSCALL_TRACEPOINT_H

OBI_LRU_HASH(syscall_inflight, u64, struct syscall_start, 10240);

/* Fixed layout of raw_syscalls:sys_enter and sys_exit. */
struct syscall_enter_args {
	u64 _common;
	s64 number;
	u64 args[6];
};

struct syscall_exit_args {
	u64 _common;
	s64 number;
	s64 result;
};

OBI_SETTING(u32, syscall_with_exits, 1);

static inline __attribute__((always_inline)) void syscall_count_now(struct syscall_call *call)
{
	struct obi_owner owner = {};

	call->slot = SYSCALL_OWN_SLOT;
	if (bpf_get_current_pid_tgid() >> 32 != OBI_LIVE_GET(u32, syscall_agent)) {
		obi_owner_now(&owner);
		call->slot = syscall_find_slot(&owner);
	}
	syscall_count(call);
}

OBI_TRACEPOINT(raw_syscalls, sys_enter, syscall_enter_tp, struct syscall_enter_args)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct syscall_start start = {};
	struct syscall_call call = {};

	syscall_look_up(&call, ctx->number, syscall_is_compat_now());
	if (syscall_with_exits && call.entry & SYSCALL_ENDS)
		syscall_count_now(&call);
	if (!(call.entry & SYSCALL_TIMED))
		return 0;
	syscall_begin(&call, &start);
	if (OBI_UPDATE(syscall_inflight, &thread, &start))
		syscall_lose_start();
	return 0;
}

OBI_TRACEPOINT(raw_syscalls, sys_exit, syscall_exit_tp, struct syscall_exit_args)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct syscall_call call = {};
	struct syscall_start *start;

	call.result = ctx->result;
	syscall_look_up(&call, ctx->number, syscall_is_compat_now());
	if (call.entry & SYSCALL_FORKS && !call.result)
		return 0;
	if (call.entry & SYSCALL_TIMED) {
		start = OBI_LOOKUP(syscall_inflight, &thread);
		if (start) {
			call.start = *start;
			OBI_DELETE(syscall_inflight, &thread);
		}
	}
	syscall_count_now(&call);
	return 0;
}

struct syscall_end_args {
	u64 _common;
};

OBI_TRACEPOINT(sched, sched_process_exit, syscall_end_tp, struct syscall_end_args)
{
	u64 thread = bpf_get_current_pid_tgid();

	OBI_DELETE(syscall_inflight, &thread);
	return 0;
}

#endif /* OBI_SYSCALL_TRACEPOINT_H */
