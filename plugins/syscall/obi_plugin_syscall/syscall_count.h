/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Counting one call that has returned: the same in every mode.
 *
 * What the account calls a thing is a call, an error of one, or the duration of one.
 */
#ifndef OBI_SYSCALL_COUNT_H
#define OBI_SYSCALL_COUNT_H

OBI_SETTING(u32, syscall_with_errors, 1);
/* One timed call in so many has its latency taken, with that weight. */
OBI_LIVE(u32, syscall_every);
/* A timed call that takes longer is told; ns, 0: none. */
OBI_LIVE(u64, syscall_slow_ns);
/* Slow calls a second that may be told, and as many at once. */
OBI_LIVE(u32, syscall_event_rate);
/* The agent's process id as the kernel sees it; 0: nobody is left out. */
OBI_LIVE(u32, syscall_agent);

OBI_TOKENS(syscall_tokens);

/* A call between its entry and its exit. */
struct syscall_start {
	u64 start_ns; /* 0: sampled out */
	u32 number; /* place in syscall_table, and 1: 0 is none */
	u32 weight;
};

struct syscall_call {
	u32 number; /* place in syscall_table; at or beyond its end: a number without a place */
	u32 entry;
	s64 result;
	u32 slot;
	struct syscall_start start;
};

static inline __attribute__((always_inline)) void syscall_look_up(struct syscall_call *call,
								  u64 number, bool compat)
{
	u32 *entry;

	call->number = 2 * SYSCALL_NUMBERS;
	call->entry = 0;
	/* -1 where a call was skipped, beyond the end for x32. */
	if (number >= SYSCALL_NUMBERS)
		return;
	call->number = number + (compat ? SYSCALL_NUMBERS : 0);
	entry = OBI_LOOKUP(syscall_table, &call->number);
	if (entry)
		call->entry = *entry;
}

/* What to remember of a timed call that begins. */
static inline __attribute__((always_inline)) void syscall_begin(const struct syscall_call *call,
								struct syscall_start *start)
{
	start->weight = obi_sample(OBI_LIVE_GET(u32, syscall_every));
	start->number = call->number + 1;
	start->start_ns = start->weight ? bpf_ktime_get_ns() : 0;
}

/* A timed call that could not be remembered. */
static inline __attribute__((always_inline)) void syscall_lose_start(void)
{
	struct obi_account *account = OBI_SEEN(syscall_account);

	OBI_OUTCOME(account, lost);
	OBI_LOSE(syscall_lost, SYSCALL_LOST_START);
}

/* The owner's slot, new if need be. */
static inline __attribute__((always_inline)) u32 syscall_find_slot(const struct obi_owner *owner)
{
	struct syscall_owner_key key = {};
	u32 slot = 0, *found;

	obi_owner_key(&key.owner, owner);
	found = OBI_LOOKUP(syscall_owners, &key);
	if (found)
		return *found;
	if (OBI_POP(syscall_free, &slot))
		return SYSCALL_NO_SLOT;
	if (OBI_INSERT(syscall_owners, &key, &slot)) {
		/* Another CPU was first. */
		OBI_PUSH(syscall_free, &slot);
		found = OBI_LOOKUP(syscall_owners, &key);
		return found ? *found : SYSCALL_NO_SLOT;
	}
	return slot;
}

static inline __attribute__((always_inline)) void syscall_tell(const struct syscall_call *call,
							       u64 end_ns)
{
	u32 rate = OBI_LIVE_GET(u32, syscall_event_rate);
	struct syscall_event event = {};

	if (!OBI_TOKEN(syscall_tokens, rate, rate)) {
		OBI_LOSE(syscall_lost, SYSCALL_LIMITED_EVENT);
		return;
	}
	obi_owner_now(&event.owner);
	event.start_ns = call->start.start_ns;
	event.end_ns = end_ns;
	event.result = call->result;
	event.number = call->number;
	event.thread = bpf_get_current_pid_tgid();
	if (OBI_EMIT(syscall_events, &event))
		OBI_LOSE(syscall_lost, SYSCALL_LOST_EVENT);
}

static inline __attribute__((always_inline)) bool
syscall_add_duration(const struct syscall_key *key, u64 duration_ns, u64 weight)
{
	struct syscall_durations *row = OBI_LOOKUP(syscall_duration, key), *zero;
	u32 slot = obi_slot(duration_ns, SYSCALL_FIRST, SYSCALL_BUCKETS), first = 0;

	if (!row) {
		zero = OBI_LOOKUP(syscall_zero, &first);
		if (zero)
			OBI_INSERT(syscall_duration, key, zero);
		row = OBI_LOOKUP(syscall_duration, key);
	}
	if (!row || slot >= SYSCALL_BUCKETS)
		return false;
	__sync_fetch_and_add(&row->counts[slot], weight);
	__sync_fetch_and_add(&row->sum_ns, duration_ns * weight);
	/* For people; a race may keep the smaller of two. */
	if (duration_ns > row->max_ns)
		row->max_ns = duration_ns;
	return true;
}

/* The duration of a call that was remembered; whether it has one, and whether it was kept. */
static inline __attribute__((always_inline)) void syscall_took(const struct syscall_call *call,
							       const struct syscall_key *key,
							       struct obi_account *account)
{
	u64 now, slow_ns;

	__sync_fetch_and_add(&account->seen, 1);
	if (!call->start.weight) {
		OBI_OUTCOME(account, sampled_out);
		return;
	}
	now = bpf_ktime_get_ns();
	slow_ns = OBI_LIVE_GET(u64, syscall_slow_ns);
	if (slow_ns && now - call->start.start_ns > slow_ns)
		syscall_tell(call, now);
	if (syscall_add_duration(key, now - call->start.start_ns, call->start.weight)) {
		OBI_OUTCOME(account, exported);
		/* The others that it stands for were counted where they were left out. */
		return;
	}
	OBI_OUTCOME(account, lost);
	OBI_LOSE(syscall_lost, SYSCALL_LOST_DURATION);
}

static inline __attribute__((always_inline)) void syscall_failed(const struct syscall_key *key,
								 struct obi_account *account)
{
	__sync_fetch_and_add(&account->seen, 1);
	if (OBI_ADD(syscall_errors, key, 1)) {
		OBI_OUTCOME(account, exported);
		return;
	}
	OBI_OUTCOME(account, lost);
	OBI_LOSE(syscall_lost, SYSCALL_LOST_ERROR);
}

/* A call without a slot: of the agent itself, or of an owner for whom there was no room. */
static inline __attribute__((always_inline)) void
syscall_leave_out(const struct syscall_call *call, struct obi_account *account, u32 things)
{
	u32 place = SYSCALL_LOST_OWNER;

	__sync_fetch_and_add(&account->seen, things);
	if (call->slot == SYSCALL_OWN_SLOT) {
		__sync_fetch_and_add(&account->filtered, things);
		return;
	}
	__sync_fetch_and_add(&account->lost, things);
	OBI_ADD(syscall_lost, &place, things);
}

static inline __attribute__((always_inline)) void syscall_count(const struct syscall_call *call)
{
	bool failed = call->result < 0 && call->result >= -4095;
	bool timed = call->start.number == call->number + 1;
	struct syscall_key key = { .slot = call->slot, .class = SYSCALL_CLASS(call->entry) };
	struct obi_account *account;
	struct syscall_counts *row;
	u32 first = 0;

	account = OBI_LOOKUP(syscall_account, &first);
	if (!account)
		return;
	row = OBI_LOOKUP(syscall_calls, &key.slot);
	if (!row) {
		syscall_leave_out(call, account, 1 + (failed && syscall_with_errors) + timed);
		return;
	}
	__sync_fetch_and_add(&account->seen, 1);
	__sync_fetch_and_add(&account->exported, 1);
	__sync_fetch_and_add(&row->calls[SYSCALL_CLASS(call->entry)], 1);
	if (failed)
		key.error = -call->result;
	if (failed && syscall_with_errors)
		syscall_failed(&key, account);
	if (timed)
		syscall_took(call, &key, account);
}

#endif /* OBI_SYSCALL_COUNT_H */
