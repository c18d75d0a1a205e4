/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Lines for people in the kernel's trace pipe: a sample, at most so many a second, and free when off.
 *
 *   OBI_TRACE(name)           the switch <name>_on (OBI_SETTING, 0), the live settings <name>_every and <name>_rate, a token bucket
 *   OBI_TRACE_CHOICE(name)    what becomes of this thing: OBI_TRACE_PRINT it, OBI_TRACE_SKIP it (not sampled), or it is
 *                             OBI_TRACE_LIMITED (count that)
 *
 * Ask `if (<name>_on)` first: the switch is read-only data, so the verifier removes what stands behind it. Begin each line with
 * "obi <probe> ", so that a reader of the pipe knows ours.
 */
#ifndef OBI_TRACE_H
#define OBI_TRACE_H

#include <obi/limit.h>
#include <obi/sample.h>

enum obi_trace_choice { OBI_TRACE_SKIP, OBI_TRACE_PRINT, OBI_TRACE_LIMITED };

#define OBI_TRACE(name)                                                                            \
	OBI_SETTING(u32, name##_on, 0);                                                            \
	OBI_LIVE(u32, name##_every);                                                               \
	OBI_LIVE(u32, name##_rate);                                                                \
	OBI_TOKENS(name##_tokens)

#define OBI_TRACE_CHOICE(name)                                                                     \
	({                                                                                         \
		u32 _choice = OBI_TRACE_SKIP;                                                      \
		u32 _rate = OBI_LIVE_GET(u32, name##_rate);                                        \
		if (obi_sample(OBI_LIVE_GET(u32, name##_every)))                                   \
			_choice = OBI_TOKEN(name##_tokens, _rate, _rate) ? OBI_TRACE_PRINT         \
									 : OBI_TRACE_LIMITED;      \
		_choice;                                                                           \
	})

#endif /* OBI_TRACE_H */
