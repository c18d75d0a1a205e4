/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Histogram buckets of durations: OTLP exponential buckets of scale 2, in seconds.
 *
 * Bucket i holds durations d with 2^(i/4) s < d <= 2^((i+1)/4) s. A duration in ns is shifted until its top bit is bit 62,
 * which loses nothing, and compared with the four bucket boundaries that fall into one octave: 2^(k/4) * 10^9 ns, shifted
 * likewise and rounded down. So every boundary is exact, without a table (BCC cannot load one).
 */
#ifndef OBI_HISTOGRAM_H
#define OBI_HISTOGRAM_H

/* floor(2^(k/4) * 10^9 * 2^32) for k = 1, 2, 3, and 10^9 * 2^33 */
#define OBI_BOUNDARY_1 5107605667107197932ULL
#define OBI_BOUNDARY_2 6074000999952099384ULL
#define OBI_BOUNDARY_3 7223245205676679009ULL
#define OBI_BOUNDARY_4 8589934592000000000ULL

static inline __attribute__((always_inline)) int obi_log2(u64 value)
{
	int log = 0;

	if (value >> 32) {
		value >>= 32;
		log += 32;
	}
	if (value >> 16) {
		value >>= 16;
		log += 16;
	}
	if (value >> 8) {
		value >>= 8;
		log += 8;
	}
	if (value >> 4) {
		value >>= 4;
		log += 4;
	}
	if (value >> 2) {
		value >>= 2;
		log += 2;
	}
	return log + (int)(value >> 1);
}

/* OTLP index of a duration, at least 1 ns and below 2^63 ns. */
static inline __attribute__((always_inline)) int obi_bucket(u64 duration_ns)
{
	int log = obi_log2(duration_ns);
	u64 mantissa = duration_ns << (62 - log);
	int index = 4 * (log - 30);

	index += mantissa > OBI_BOUNDARY_1;
	index += mantissa > OBI_BOUNDARY_2;
	index += mantissa > OBI_BOUNDARY_3;
	index += mantissa > OBI_BOUNDARY_4;
	return index;
}

/*
 * Slot of a histogram whose first bucket is `first`, with `count` buckets: the ends take what lies beyond. The verifier forgets
 * the bound and the compiler drops a second check as needless, so the value is hidden from the compiler: check it where it is used.
 */
static inline __attribute__((always_inline)) u32 obi_slot(u64 duration_ns, int first, u32 count)
{
	int index = obi_bucket(duration_ns ? duration_ns : 1) - first;
	u32 slot = index < 0 ? 0 : index;

	if (slot >= count)
		slot = count - 1;
	asm volatile("" : "+r"(slot));
	return slot;
}

#endif /* OBI_HISTOGRAM_H */
