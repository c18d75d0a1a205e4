/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What a tracepoint's own arguments say of the OOM killer's victim: all that there is without kernel structs. */
#ifndef OBI_LIMITS_READ_ARGS_H
#define OBI_LIMITS_READ_ARGS_H

/* Fixed layout of signal:signal_generate since v3.5. */
struct limits_signal_args {
	u64 _common;
	s32 signal;
	s32 error;
	s32 code;
	char comm[16]; /* of the thread that gets it */
	s32 pid;
	s32 group;
	s32 result;
};

/* A longer name that the task had before may stand behind the NUL. */
static inline __attribute__((always_inline)) void
limits_victim_comm(char comm[16], const struct limits_signal_args *args)
{
	bool ended = false;

	OBI_UNROLL
	for (int i = 0; i < 16; i++) {
		comm[i] = ended ? 0 : args->comm[i];
		ended = !comm[i];
	}
}

/* As limits_remember_victim(), but that its cgroup, its memory and the start of the process are not known. */
OBI_TRACEPOINT(signal, signal_generate, limits_victim_tp, struct limits_signal_args)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct limits_oom_event *event;
	u32 first = 0;

	if (ctx->signal != LIMITS_SIGKILL || ctx->code != LIMITS_SI_KERNEL)
		return 0;
	event = OBI_LOOKUP(limits_scratch, &first);
	if (!event)
		return 0;
	event->victim.cgroup_id = 0;
	event->victim.start_ns = 0;
	event->victim.tgid = ctx->pid;
	limits_victim_comm(event->victim.comm, ctx);
	event->pid = ctx->pid;
	event->anon_pages = 0;
	event->file_pages = 0;
	event->shmem_pages = 0;
	event->limited_id = 0;
	event->limit_pages = 0;
	OBI_UPDATE(limits_victims, &thread, event);
	return 0;
}

#endif /* OBI_LIMITS_READ_ARGS_H */
