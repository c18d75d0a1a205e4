/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Packets of the whole node: each once, at the socket that sends or receives it, and so at a process.
 *
 * Attaches: cgroup_skb ingress and egress at the root of cgroup2; sock_create, connect, bind, sockops and the exits of accept and
 *           accept4, which say whose a socket is.
 * Emits:    cumulative: network_packets, by owner and conversation; network_account; network_lost.
 * Kernel:   5.8.
 * Cost:     per packet one look into the socket and one into network_packets.
 * Gaps:     what has no socket (a reset for a closed port and the SYN that it answers, forwarded packets) does not pass here.
 */
#include <obi/obi.h>

#include "network_packet.h"
#include "network_maps.h"

#ifndef OBI_BCC
#include "network_owner.h"
#include "network_count.h"
#include "network_drops.h"

#define OBI_IFINDEX_LOOPBACK 1

static __always_inline void network_seen(struct __sk_buff *ctx, u32 l3, u8 direction)
{
	struct obi_account *account = OBI_SEEN(network_account);
	struct network_packet packet = {};
	struct network_socket *socket;
	u32 weight;

	if (!network_loopback && ctx->ifindex == OBI_IFINDEX_LOOPBACK) {
		OBI_OUTCOME(account, filtered);
		return;
	}
	socket = network_socket_of(ctx);
	network_parse(ctx, l3, direction, &packet);
	weight = obi_sample(OBI_LIVE_GET(u32, network_sample_every));
	if (!weight) {
		OBI_OUTCOME(account, sampled_out);
		return;
	}
	network_count(&packet, socket, weight, account);
}

SEC("cgroup_skb/ingress")
int network_in(struct __sk_buff *ctx)
{
	network_seen(ctx, 0, NETWORK_RECEIVE);
	return 1;
}

SEC("cgroup_skb/egress")
int network_out(struct __sk_buff *ctx)
{
	network_seen(ctx, 0, NETWORK_TRANSMIT);
	return 1;
}
#endif
