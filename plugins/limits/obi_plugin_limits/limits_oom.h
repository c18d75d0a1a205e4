/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the OOM killer did: the part that needs no kernel struct. */
#ifndef OBI_LIMITS_OOM_H
#define OBI_LIMITS_OOM_H

#define LIMITS_SIGKILL 9
/* include/uapi/asm-generic/siginfo.h */
#define LIMITS_SI_KERNEL 0x80

static inline __attribute__((always_inline)) void limits_tell_kill(void *ctx,
								   struct limits_oom_event *event)
{
	u32 rate = OBI_LIVE_GET(u32, limits_oom_rate);

	if (!OBI_TOKEN(limits_oom_tokens, rate, rate)) {
		OBI_LOSE(limits_lost, LIMITS_LIMITED_EVENT);
		return;
	}
	event->time_ns = bpf_ktime_get_ns();
	obi_owner_now(&event->requester);
	/* Whose frames these are says who called the OOM killer; user space knows the names. */
	event->stack_bytes = bpf_get_stack(ctx, event->stack, sizeof(event->stack), 0);
	if (OBI_EMIT(limits_oom_events, event))
		OBI_LOSE(limits_lost, LIMITS_LOST_EVENT);
}

/*
 * A thread was marked as a victim. If this task has just sent it the OOM killer's SIGKILL, that was a kill, as oom_kill in
 * /proc/vmstat counts them; otherwise its process was dying already and is only let at the reserves: filtered.
 */
static inline __attribute__((always_inline)) void limits_marked(void *ctx, s32 pid)
{
	struct obi_account *account = OBI_SEEN(limits_account);
	u64 thread = bpf_get_current_pid_tgid();
	struct limits_oom_event *event = OBI_LOOKUP(limits_victims, &thread);
	struct limits_kill_key key = {};

	if (!event || event->pid != (u32)pid) {
		OBI_OUTCOME(account, filtered);
		return;
	}
	obi_owner_key(&key.owner, &event->victim);
	if (!limits_victim_name)
		__builtin_memset(key.owner.comm, 0, sizeof(key.owner.comm));
	LIMITS_COUNT(limits_oom_kills, &key, account);
	limits_tell_kill(ctx, event);
	OBI_DELETE(limits_victims, &thread);
}

#endif /* OBI_LIMITS_OOM_H */
