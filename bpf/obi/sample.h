/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Sampling that keeps counts unbiased.
 *
 *   obi_sample(every)            one in `every`, by chance
 *   obi_sample_key(key, every)   by a hash of the key: one key is always in or always out, on every CPU and in every program
 *
 * Both return the factor to count with: 0 for "leave it", else `every` (1 if that is 0 or 1). Counting the factor instead of 1
 * gives the same sum in the long run. A key that is in at one `every` is in at every smaller one, so less sampling only adds.
 * No division: a 32-bit random number is below 2^32 / every exactly when its product with `every` stays below 2^32.
 */
#ifndef OBI_SAMPLE_H
#define OBI_SAMPLE_H

#include <obi/settings.h>

/* Another seed chooses other keys. */
OBI_SETTING(u64, obi_sample_seed, 0);

static inline __attribute__((always_inline)) u32 obi_sample_by(u32 random, u32 every)
{
	if (every <= 1)
		return 1;
	return (u64)random * every >> 32 ? 0 : every;
}

static inline __attribute__((always_inline)) u32 obi_sample(u32 every)
{
	if (every <= 1)
		return 1;
	return obi_sample_by(bpf_get_prandom_u32(), every);
}

/* SplitMix64's step and finaliser: each bit of the key turns each bit of the hash in half of all cases. */
static inline __attribute__((always_inline)) u64 obi_hash(u64 key)
{
	u64 hash = (key ^ obi_sample_seed) + 0x9e3779b97f4a7c15ULL;

	hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
	hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
	return hash ^ (hash >> 31);
}

static inline __attribute__((always_inline)) u32 obi_sample_key(u64 key, u32 every)
{
	return obi_sample_by(obi_hash(key) >> 32, every);
}

#endif /* OBI_SAMPLE_H */
