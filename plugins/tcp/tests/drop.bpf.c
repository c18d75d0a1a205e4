/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A lossy wire for tests: of the packets with at least 600 bytes every 50th is dropped. On ingress, for TCP hears of what its own
 * queueing discipline drops and takes it for not sent.
 */
#include <obi/obi.h>

OBI_ARRAY(drop_seen, u32, u64, 2); /* packets seen, packets dropped */

SEC("tc")
int drop(struct __sk_buff *skb)
{
	u32 first = 0, second = 1;
	u64 *seen = OBI_LOOKUP(drop_seen, &first);
	u64 *dropped = OBI_LOOKUP(drop_seen, &second);

	if (!seen || !dropped || skb->len < 600)
		return 0;
	*seen += 1;
	if (*seen % 50)
		return 0;
	*dropped += 1;
	return 2; /* TC_ACT_SHOT */
}
