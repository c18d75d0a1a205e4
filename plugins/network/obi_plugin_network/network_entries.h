/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Where packets come in: at sockets (cgroup_skb), or at interfaces (tc), with a link header or without. */
#ifndef OBI_NETWORK_ENTRIES_H
#define OBI_NETWORK_ENTRIES_H

#include "network_count.h"
#include "network_dns.h"
#include "network_owner.h"
#include "network_trace.h"
#include "network_track.h"

/* The loopback interface has this number in every network namespace. */
#define NETWORK_LOOPBACK_IFINDEX 1
#define NETWORK_ETHERNET_BYTES 14

/* One skb, whose network header begins at `l3`; at_interface: see struct network_packet. */
static __always_inline void network_seen(struct __sk_buff *ctx, u32 l3, u8 direction,
					 bool at_interface)
{
	struct obi_account *account = OBI_SEEN(network_account);
	struct network_packet packet = { .at_interface = at_interface };
	struct network_socket *socket = 0;
	u32 weight;

	if (!network_loopback && ctx->ifindex == NETWORK_LOOPBACK_IFINDEX) {
		OBI_OUTCOME(account, filtered);
		return;
	}
	/* What an interface receives may still have the sender's socket, from the other end of a veth pair. */
	if (!at_interface || direction == NETWORK_TRANSMIT)
		socket = network_socket_of(ctx);
	network_parse(ctx, l3, direction, true, &packet);
	network_track(&packet, socket);
	network_print(&packet, socket);
	weight = obi_sample(OBI_LIVE_GET(u32, network_sample_every));
	if (weight)
		network_count(&packet, socket, weight, account);
	else
		OBI_OUTCOME(account, sampled_out);
	/* Last, where the verifier has the fewest things to keep in mind. */
	network_dns_packet(ctx, &packet, socket);
}

SEC("cgroup_skb/ingress")
int network_in(struct __sk_buff *ctx)
{
	network_seen(ctx, 0, NETWORK_RECEIVE, false);
	return 1;
}

SEC("cgroup_skb/egress")
int network_out(struct __sk_buff *ctx)
{
	network_seen(ctx, 0, NETWORK_TRANSMIT, false);
	return 1;
}

/*
 * Under these names mode `bcc` has programs of its own (network_cookies.h). Here they are never loaded: they name the maps of that mode,
 * so that its memory can be planned.
 */
static __always_inline int network_plain(void)
{
	struct network_opening_key opening = {};
	u64 cookie = 0;

	return OBI_LOOKUP(network_owners, &cookie) || OBI_LOOKUP(network_opening, &opening) || true;
}

SEC("cgroup_skb/ingress")
int network_in_skb(struct __sk_buff *ctx)
{
	return network_plain();
}

SEC("cgroup_skb/egress")
int network_out_skb(struct __sk_buff *ctx)
{
	return network_plain();
}

/*
 * Bytes before the network header: none at TUN, WireGuard and tunnels. An Ethernet header repeats the protocol that the skb has; an IP
 * packet has the source address there, which looks alike for 8.0.64.0/20 alone, and then it is misread.
 */
static __always_inline u32 network_link_bytes(struct __sk_buff *ctx)
{
	u8 head[15];
	u16 protocol = ctx->protocol;

	if (bpf_skb_load_bytes(ctx, 0, head, sizeof(head)) ||
	    (head[12] | head[13] << 8) != protocol)
		return 0;
	if (protocol == bpf_htons(OBI_ETH_P_IP) && head[14] >> 4 != 4)
		return 0;
	if (protocol == bpf_htons(OBI_ETH_P_IPV6) && head[14] >> 4 != 6)
		return 0;
	return NETWORK_ETHERNET_BYTES;
}

SEC("tc")
int network_tc_in(struct __sk_buff *ctx)
{
	network_seen(ctx, network_link_bytes(ctx), NETWORK_RECEIVE, true);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int network_tc_out(struct __sk_buff *ctx)
{
	network_seen(ctx, network_link_bytes(ctx), NETWORK_TRANSMIT, true);
	return TC_ACT_UNSPEC;
}

#endif /* OBI_NETWORK_ENTRIES_H */
