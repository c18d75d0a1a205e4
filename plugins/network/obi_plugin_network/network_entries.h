/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Where packets come in: at sockets (cgroup_skb), or at interfaces (tc), with a link header or without. */
#ifndef OBI_NETWORK_ENTRIES_H
#define OBI_NETWORK_ENTRIES_H

#include "network_count.h"
#include "network_owner.h"
#include "network_trace.h"
#include "network_track.h"

/* The loopback interface has this number in every network namespace. */
#define NETWORK_LOOPBACK_IFINDEX 1
#define NETWORK_ETHERNET_BYTES 14

/* One skb, whose network header begins at `l3`. */
static __always_inline void network_seen(struct __sk_buff *ctx, u32 l3, u8 direction)
{
	struct obi_account *account = OBI_SEEN(network_account);
	struct network_packet packet = {};
	struct network_socket *socket;
	u32 weight;

	if (!network_loopback && ctx->ifindex == NETWORK_LOOPBACK_IFINDEX) {
		OBI_OUTCOME(account, filtered);
		return;
	}
	socket = network_socket_of(ctx);
	network_parse(ctx, l3, direction, &packet);
	network_track(&packet, socket);
	network_print(&packet, socket);
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

SEC("tc")
int network_tc_in(struct __sk_buff *ctx)
{
	network_seen(ctx, NETWORK_ETHERNET_BYTES, NETWORK_RECEIVE);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int network_tc_out(struct __sk_buff *ctx)
{
	network_seen(ctx, NETWORK_ETHERNET_BYTES, NETWORK_TRANSMIT);
	return TC_ACT_UNSPEC;
}

/* Interfaces without a link header: TUN, WireGuard, tunnels. */
SEC("tc")
int network_l3_in(struct __sk_buff *ctx)
{
	network_seen(ctx, 0, NETWORK_RECEIVE);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int network_l3_out(struct __sk_buff *ctx)
{
	network_seen(ctx, 0, NETWORK_TRANSMIT);
	return TC_ACT_UNSPEC;
}

#endif /* OBI_NETWORK_ENTRIES_H */
