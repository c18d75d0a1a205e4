/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Limits, and the count of what falls off at them.
 *
 *   OBI_TOKENS(name)                     a token bucket
 *   OBI_TOKEN(name, per_second, burst)   take one token; false: over the limit (count that). A rate or burst of 0: never
 *
 *   OBI_LOSSES(name, count)              counters of what was lost, one for each of `count` places
 *   OBI_LOSE(name, place)                count one loss
 *
 * Tracing programs may not lock, and atomics that return a value are newer than our oldest kernel. So the bucket keeps two
 * numbers: `taken` only ever grows, atomically; `skipped` are the tokens that found the bucket full, a plain store that is worked
 * out from what was read and so says the same whoever stores it. Programs that meet on several CPUs may all see the last token:
 * each passes and each is charged, so in any period at most burst + per_second * seconds + CPUs pass, and a debt is paid
 * back before the next one passes. (Counted per context: a program that interrupts another counts as a CPU. A program held up
 * between its read and its store gives back what was refilled meanwhile, at most the burst.) The rate may be a live setting: a
 * change of it fills the bucket once.
 */
#ifndef OBI_LIMIT_H
#define OBI_LIMIT_H

#include <obi/maps.h>

struct obi_tokens {
	u64 taken;
	u64 skipped;
	u64 per_second; /* the rate that `skipped` is counted at; 0 before the first use */
};

static inline __attribute__((always_inline)) bool obi_token(struct obi_tokens *tokens,
							    u64 per_second, u64 burst)
{
	u64 now, refilled, taken, skipped;
	s64 left;

	if (!per_second || !burst)
		return false;

	/* Exact, and below 2^64 for a century of uptime: the rate has 32 bits, a remainder 30. */
	now = bpf_ktime_get_ns();
	refilled = now / 1000000000 * per_second + now % 1000000000 * per_second / 1000000000;

	/* In this order: who misses the newest `skipped` must have missed the tokens taken after it too. */
	taken = tokens->taken;
	asm volatile("" ::: "memory");
	skipped = tokens->skipped;

	left = refilled - skipped - taken;
	if (left > (s64)burst || tokens->per_second != per_second) {
		tokens->skipped = refilled - taken - burst;
		tokens->per_second = per_second;
		left = burst;
	}
	if (left <= 0)
		return false;
	__sync_fetch_and_add(&tokens->taken, 1);
	return true;
}

#define OBI_TOKENS(name) OBI_ARRAY(name, u32, struct obi_tokens, 1)
#define OBI_TOKEN(name, per_second, burst)                                                         \
	({                                                                                         \
		u32 _bucket = 0;                                                                   \
		struct obi_tokens *_tokens = OBI_LOOKUP(name, &_bucket);                           \
		_tokens ? obi_token(_tokens, (u32)(per_second), (u32)(burst)) : false;             \
	})

#define OBI_LOSSES(name, count) OBI_ARRAY(name, u32, u64, count)
#define OBI_LOSE(name, place)                                                                      \
	({                                                                                         \
		u32 _place = place;                                                                \
		u64 *_lost = OBI_LOOKUP(name, &_place);                                            \
		if (_lost)                                                                         \
			__sync_fetch_and_add(_lost, 1);                                            \
	})

#endif /* OBI_LIMIT_H */
