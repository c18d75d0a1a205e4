/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Signals, and the entries that read kernel structs: CO-RE only. */
#ifndef OBI_LIMITS_ENTRIES_H
#define OBI_LIMITS_ENTRIES_H

/* include/linux/sched/signal.h: what stands in place of a siginfo */
#define LIMITS_SEND_SIG_NOINFO 0
#define LIMITS_SEND_SIG_PRIV 1
/* include/uapi/asm-generic/siginfo.h */
#define LIMITS_SI_USER 0
#define LIMITS_SI_QUEUE (-1)
#define LIMITS_SI_TKILL (-6)
/* include/trace/events/signal.h */
#define LIMITS_DELIVERED 0

static __always_inline s32 limits_code(struct kernel_siginfo *info)
{
	if ((u64)info == LIMITS_SEND_SIG_NOINFO)
		return LIMITS_SI_USER;
	if ((u64)info == LIMITS_SEND_SIG_PRIV)
		return LIMITS_SI_KERNEL;
	return BPF_CORE_READ(info, si_code);
}

/* Whether the running task is the sender; otherwise the kernel is (faults, timers, the OOM killer, the end of a pid namespace). */
static __always_inline bool limits_sent_by_task(s32 code)
{
	return code == LIMITS_SI_USER || code == LIMITS_SI_QUEUE || code == LIMITS_SI_TKILL;
}

/* Nothing of the process stands between the signal and its end: no handler, not ignored, not kept for sigwait or signalfd. */
static __always_inline bool limits_kills(struct task_struct *task, u32 signal)
{
	struct sighand_struct *sighand;
	struct k_sigaction *action;
	u64 blocked;

	if (signal == LIMITS_SIGKILL || limits_handled)
		return true;
	/* While sigwait waits, what it waits for stands in the second set only. */
	blocked = BPF_CORE_READ(task, blocked.sig[0]) | BPF_CORE_READ(task, real_blocked.sig[0]);
	if (blocked >> (signal - 1) & 1)
		return false;
	sighand = BPF_CORE_READ(task, sighand);
	action = (void *)sighand + bpf_core_field_offset(struct sighand_struct, action) +
		 (signal - 1) * bpf_core_type_size(struct k_sigaction);
	return !BPF_CORE_READ(action, sa.sa_handler);
}

static __always_inline void limits_tell_signal(const struct obi_owner *target,
					       const struct obi_owner *sender, u32 signal, s32 code)
{
	u32 rate = OBI_LIVE_GET(u32, limits_signal_rate);
	struct limits_signal_event event = {};

	if (!OBI_TOKEN(limits_signal_tokens, rate, rate)) {
		OBI_LOSE(limits_lost, LIMITS_LIMITED_EVENT);
		return;
	}
	event.target = *target;
	event.sender = *sender;
	event.time_ns = bpf_ktime_get_ns();
	event.signal = signal;
	event.code = code;
	if (OBI_EMIT(limits_signal_events, &event))
		OBI_LOSE(limits_lost, LIMITS_LOST_EVENT);
}

static __always_inline void limits_count_signal(struct task_struct *task, u32 signal, s32 code)
{
	struct obi_account *account = OBI_SEEN(limits_account);
	struct limits_signal_key key = {};
	struct obi_owner target, sender = {};

	if (!limits_kills(task, signal)) {
		OBI_OUTCOME(account, filtered);
		return;
	}
	obi_owner_of(task, &target);
	if (limits_sent_by_task(code))
		obi_owner_now(&sender);
	obi_owner_key(&key.owner, &target);
	__builtin_memcpy(key.sender, sender.comm, sizeof(key.sender));
	key.signal = signal;
	LIMITS_COUNT(limits_signals, &key, account);
	limits_tell_signal(&target, &sender, signal, code);
}

static __always_inline void limits_generated(u32 signal, struct kernel_siginfo *info,
					     struct task_struct *task, int result)
{
	if (signal == LIMITS_SIGKILL && (u64)info == LIMITS_SEND_SIG_PRIV)
		limits_remember_victim(task);
	if (result != LIMITS_DELIVERED || signal - 1 > 63)
		return;
	if (limits_signal_mask >> (signal - 1) & 1)
		limits_count_signal(task, signal, limits_code(info));
}

SEC("tp_btf/signal_generate")
int limits_signal_btf(u64 *ctx)
{
	limits_generated(ctx[0], (void *)ctx[1], (void *)ctx[2], ctx[4]);
	return 0;
}

OBI_RAW_TRACEPOINT(signal_generate, limits_signal_raw)
{
	limits_generated(ctx->args[0], (void *)ctx->args[1], (void *)ctx->args[2], ctx->args[4]);
	return 0;
}

SEC("tp_btf/mark_victim")
int limits_oom_btf(u64 *ctx)
{
	/* 72ba14deb40a ("mm: update mark_victim tracepoints fields", v6.8) made a task of the thread's id. */
	if (bpf_core_field_exists(struct trace_event_raw_mark_victim, uid))
		limits_marked(ctx, BPF_CORE_READ((struct task_struct *)ctx[0], pid));
	else
		limits_marked(ctx, ctx[0]);
	return 0;
}

#endif /* OBI_LIMITS_ENTRIES_H */
