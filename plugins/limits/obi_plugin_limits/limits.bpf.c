/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What ran into a limit: victims of the OOM killer, system calls that failed for want of something, signals that kill.
 *
 * Attaches: oom:mark_victim and signal:signal_generate (tp_btf; else the perf tracepoint and a raw one); the exits of chosen
 *           system calls, three programs for all of them, which user space attaches one by one (settings: exhaustion_calls).
 * Emits:    cumulative, by owner: limits_oom_kills, limits_exhaustion, limits_signals; limits_account, limits_lost; a record for
 *           each OOM kill (limits_oom_events) and each signal that kills (limits_signal_events), rate-limited.
 * Kernel:   4.15 for mark_victim's place; 5.5 for tp_btf; 5.8 for the ring buffers. The victim is read where it is sent its
 *           SIGKILL, just before mark_victim, in the same task: mark_victim itself gave no more than a thread's id before v6.8.
 * Cost:     a signal about 0.1 us, a call that is watched about as much; nothing else that succeeds is looked at. Any system
 *           call tracepoint puts every system call of the machine on the traced path, once for all of them.
 * Gaps:     system calls of 32-bit programs (the kernel does not trace them); io_uring; brk(2), which reports no error.
 */
#include <obi/obi.h>

#include "limits_maps.h"

#include "limits_exhaustion.h"
#include "limits_oom.h"
#include "limits_read_args.h"

#ifndef OBI_BCC
#include "limits_read_task.h"

#include "limits_entries.h"
#endif

/* Begins like this in every version; more fields came in v6.8. */
struct limits_victim_args {
	u64 _common;
	s32 pid;
};

OBI_TRACEPOINT(oom, mark_victim, limits_oom_tp, struct limits_victim_args)
{
	limits_marked(ctx, ctx->pid);
	return 0;
}

/* The upper half of the word that holds the number is not initialised by the kernel. */
struct limits_exit_args {
	u64 _common;
	s32 number;
	s32 _pad;
	s64 result;
};

/* Any call but those below; the section names one of many that user space attaches it to. */
OBI_TRACEPOINT(syscalls, sys_exit_openat, limits_call, struct limits_exit_args)
{
	limits_returned(ctx->result, LIMITS_ANY_CALL);
	return 0;
}

/* clone and its like. */
OBI_TRACEPOINT(syscalls, sys_exit_clone, limits_fork, struct limits_exit_args)
{
	limits_returned(ctx->result, LIMITS_FORK_CALL);
	return 0;
}

/* inotify_add_watch and epoll_ctl: their ENOSPC is about watches. */
OBI_TRACEPOINT(syscalls, sys_exit_inotify_add_watch, limits_watch, struct limits_exit_args)
{
	limits_returned(ctx->result, LIMITS_WATCH_CALL);
	return 0;
}
