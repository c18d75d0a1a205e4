/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* skb → struct network_packet; see network_packet.h. */
#ifndef OBI_NETWORK_PARSE_H
#define OBI_NETWORK_PARSE_H

struct network_ipv4 {
	u8 version_ihl;
	u8 tos;
	__be16 total;
	__be16 id;
	__be16 fragment;
	u8 ttl;
	u8 protocol;
	__be16 check;
	__be32 source;
	__be32 destination;
};

struct network_ipv6 {
	__be32 version_class_label;
	__be16 payload;
	u8 next;
	u8 hops;
	__be32 source[4];
	__be32 destination[4];
};

struct network_tcp {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledged;
	u8 offset;
	u8 flags;
	__be16 window;
	__be32 check_urgent;
};

/* What UDP, SCTP and ICMP begin with. */
struct network_ports {
	__be16 source;
	__be16 destination;
	__be16 length; /* of UDP */
	__be16 check;
};

/* `size` bytes of the skb: in place, or copied to `buffer`; 0: it is shorter. */
static __always_inline const void *network_at(struct __sk_buff *ctx, u32 offset, void *buffer,
					      u32 size)
{
#ifdef OBI_BCC
	/* Nothing is in place at a socket before v4.20. */
	const void *copied = bpf_skb_load_bytes(ctx, offset, buffer, size) ? 0 : buffer;

	/* Have the pointer itself looked at, not what it came of: the verifier would not see that the two go together. */
	asm volatile("" : "+r"(copied));
	return copied;
#else
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if (offset < 256 && data + offset + size <= end)
		return data + offset;
	return bpf_skb_load_bytes(ctx, offset, buffer, size) ? 0 : buffer;
#endif
}

static __always_inline void network_map_v4(u8 *address, __be32 v4)
{
	*(u64 *)address = 0;
	*(u32 *)(address + 8) = bpf_htonl(0xffff);
	*(u32 *)(address + 12) = v4;
}

static __always_inline u8 network_transport_of(u8 protocol)
{
	switch (protocol) {
	case OBI_IPPROTO_TCP:
		return NETWORK_TCP;
	case OBI_IPPROTO_UDP:
		return NETWORK_UDP;
	case OBI_IPPROTO_ICMP:
		return NETWORK_ICMP;
	case OBI_IPPROTO_ICMPV6:
		return NETWORK_ICMP6;
	case OBI_IPPROTO_SCTP:
		return NETWORK_SCTP;
	case OBI_IPPROTO_IGMP:
		return NETWORK_IGMP;
	case OBI_IPPROTO_GRE:
		return NETWORK_GRE;
	case OBI_IPPROTO_ESP:
		return NETWORK_ESP;
	}
	return NETWORK_OTHER;
}

static __always_inline bool network_parse_tcp(struct __sk_buff *ctx, struct network_packet *packet,
					      u32 left)
{
	struct network_tcp buffer;
	const struct network_tcp *tcp = network_at(ctx, packet->l4, &buffer, sizeof(buffer));
	u32 header;

	if (!tcp)
		return false;
	packet->source_port = bpf_ntohs(tcp->source);
	packet->destination_port = bpf_ntohs(tcp->destination);
	packet->tcp_flags = tcp->flags;
	header = (tcp->offset >> 4) * 4;
	if (header < sizeof(*tcp) || header > left)
		return false;
	packet->payload = packet->l4 + header;
	return true;
}

/* UDP, ICMP, SCTP: all have at least eight bytes, and what is read lies there. */
static __always_inline bool network_parse_short(struct __sk_buff *ctx,
						struct network_packet *packet, u32 left)
{
	struct network_ports buffer;
	const struct network_ports *ports = network_at(ctx, packet->l4, &buffer, sizeof(buffer));
	u32 length;

	if (!ports)
		return false;
	packet->payload = packet->l4 + sizeof(*ports);
	if (packet->transport == NETWORK_ICMP || packet->transport == NETWORK_ICMP6) {
		packet->icmp_type = *(const u8 *)ports;
		packet->icmp_code = *((const u8 *)ports + 1);
		return true;
	}
	packet->source_port = bpf_ntohs(ports->source);
	packet->destination_port = bpf_ntohs(ports->destination);
	if (packet->transport == NETWORK_SCTP) {
		packet->payload = packet->l4 + 12;
		return left >= 12;
	}
	/* 0 stands for "to the end" in a jumbogram; a first fragment holds less than the datagram says. */
	length = bpf_ntohs(ports->length);
	return packet->fragment || !length || (length >= sizeof(*ports) && length <= left);
}

static __always_inline bool network_parse_l4(struct __sk_buff *ctx, struct network_packet *packet)
{
	u32 left = packet->length - (packet->l4 - packet->l3);

	packet->transport = network_transport_of(packet->protocol);
	if (packet->fragment == NETWORK_LATER_FRAGMENT)
		return true;
	if (packet->transport == NETWORK_TCP)
		return network_parse_tcp(ctx, packet, left);
	if (packet->transport >= NETWORK_UDP && packet->transport <= NETWORK_SCTP)
		return network_parse_short(ctx, packet, left);
	return true;
}

static __always_inline bool network_parse_v4(struct __sk_buff *ctx, const struct network_ipv4 *ip,
					     struct network_packet *packet)
{
	u32 header, total, fragment;

	packet->family = OBI_AF_INET;
	packet->protocol = ip->protocol;
	packet->transport = network_transport_of(ip->protocol);
	network_map_v4(packet->source, ip->source);
	network_map_v4(packet->destination, ip->destination);
	header = (ip->version_ihl & 15) * 4;
	total = bpf_ntohs(ip->total);
	/* A total of 0 is a segmented packet beyond 64 KiB. */
	if (header < sizeof(*ip) || header > packet->length || total > packet->length ||
	    (total ? total < header : packet->length <= 0xffff))
		return false;
	packet->l4 = packet->l3 + header;
	fragment = bpf_ntohs(ip->fragment);
	if (fragment & 0x1fff)
		packet->fragment = NETWORK_LATER_FRAGMENT;
	else if (fragment & 0x2000)
		packet->fragment = NETWORK_FIRST_FRAGMENT;
	return network_parse_l4(ctx, packet);
}

/*
 * One extension header: 1 it was one and is passed, 0 it is none, -1 it is cut off. Hop-by-hop, routing, destination options and
 * mobility count eight bytes, authentication four, a fragment header has eight.
 */
static __always_inline int network_extension(struct __sk_buff *ctx, struct network_packet *packet)
{
	u8 option[4];
	u8 kind = packet->protocol;

	if (kind != 0 && kind != 43 && kind != 44 && kind != 51 && kind != 60 && kind != 135)
		return 0;
	if (bpf_skb_load_bytes(ctx, packet->l4, option, sizeof(option)))
		return -1;
	packet->protocol = option[0];
	if (kind == 44) {
		u32 fragment = option[2] << 8 | option[3];

		if (fragment >> 3)
			packet->fragment = NETWORK_LATER_FRAGMENT;
		else if (fragment & 1)
			packet->fragment = NETWORK_FIRST_FRAGMENT;
		packet->l4 += 8;
	} else if (kind == 51) {
		packet->l4 += (option[1] + 2) * 4;
	} else {
		packet->l4 += (option[1] + 1) * 8;
	}
	return packet->l4 - packet->l3 <= packet->length ? 1 : -1;
}

static __always_inline bool network_parse_v6(struct __sk_buff *ctx, struct network_packet *packet)
{
	struct network_ipv6 buffer;
	const struct network_ipv6 *ip = network_at(ctx, packet->l3, &buffer, sizeof(buffer));
	int passed = 1;

	if (!ip)
		return false;
	packet->family = OBI_AF_INET6;
	packet->protocol = ip->next;
	__builtin_memcpy(packet->source, ip->source, 16);
	__builtin_memcpy(packet->destination, ip->destination, 16);
	packet->l4 = packet->l3 + sizeof(*ip);
	if (bpf_ntohs(ip->payload) + sizeof(*ip) > packet->length)
		return false;
	OBI_UNROLL
	for (int i = 0; i < NETWORK_EXTENSIONS; i++) {
		passed = network_extension(ctx, packet);
		if (passed <= 0 || packet->fragment == NETWORK_LATER_FRAGMENT)
			break;
	}
	if (passed < 0)
		return false;
	return network_parse_l4(ctx, packet);
}

/* What segmentation makes of it on the wire: the headers once for each segment. */
static __always_inline void network_segments(struct __sk_buff *ctx, struct network_packet *packet)
{
	u32 headers = packet->payload - packet->l3;
	u32 segments = ctx->gso_segs;

	if (!packet->payload || headers >= packet->length)
		return;
	/* Whoever sends from outside the kernel (TUN, a guest) leaves the number to the kernel's own division. */
	if (!segments)
		segments = (packet->length - headers + ctx->gso_size - 1) / ctx->gso_size;
	packet->segments = segments;
	packet->wire_bytes += (u64)(segments - 1) * headers;
}

/*
 * Fill in `packet`, which is zero. `l3`: bytes of link header before the network header. `segmented`, a constant: the context tells of
 * segments, as it does since v5.7.
 */
static __always_inline void network_parse(struct __sk_buff *ctx, u32 l3, u8 direction,
					  bool segmented, struct network_packet *packet)
{
	struct network_ipv4 buffer;
	const struct network_ipv4 *ip = network_at(ctx, l3, &buffer, sizeof(buffer));
	bool sound = false;

	packet->l3 = l3;
	packet->direction = direction;
	packet->ifindex = ctx->ifindex;
	packet->length = ctx->len > l3 ? ctx->len - l3 : 0;
	packet->segments = 1;
	/* The least IPv6 packet is longer than this too. */
	if (ctx->protocol == bpf_htons(OBI_ETH_P_IP) && ip && ip->version_ihl >> 4 == 4)
		sound = network_parse_v4(ctx, ip, packet);
	else if (ctx->protocol == bpf_htons(OBI_ETH_P_IPV6) && ip && ip->version_ihl >> 4 == 6)
		sound = network_parse_v6(ctx, packet);
	/* At an interface there is more than IP: ARP is not a broken packet. */
	packet->malformed = !sound && (ctx->protocol == bpf_htons(OBI_ETH_P_IP) ||
				       ctx->protocol == bpf_htons(OBI_ETH_P_IPV6));
	packet->wire_bytes = packet->length;
	if (segmented && ctx->gso_size)
		network_segments(ctx, packet);
}

#endif /* OBI_NETWORK_PARSE_H */
