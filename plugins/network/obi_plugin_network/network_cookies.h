/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Packets and their owners where no kernel struct is known and a socket has no storage: BCC only.
 *
 * A socket's cookie leads to who made, connected or bound it. What accept returns has a cookie that nobody has seen: its first packet
 * finds the listener by the addresses and ports of the SYN, which passed at the listener's socket. So the listener's owner stands in.
 */
#ifndef OBI_NETWORK_COOKIES_H
#define OBI_NETWORK_COOKIES_H

#include "network_count.h"
#include "network_maps.h"
#include "network_packet.h"

/* The loopback interface has this number in every network namespace. */
#define NETWORK_LOOPBACK_IFINDEX 1

static __always_inline void network_own(u64 cookie, u8 role)
{
	struct network_socket socket = {};

	obi_owner_now(&socket.owner);
	socket.role = role;
	if (OBI_UPDATE(network_owners, &cookie, &socket))
		OBI_LOSE(network_lost, NETWORK_LOST_SOCKET);
}

int network_create(struct bpf_sock *ctx)
{
	if (ctx->family == OBI_AF_INET || ctx->family == OBI_AF_INET6)
		network_own(bpf_get_socket_cookie(ctx), NETWORK_ROLE_UNKNOWN);
	return 1;
}

/* In connect(): a socket may have been handed over since it was made. */
static __always_inline int network_dialled(struct bpf_sock_addr *ctx)
{
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct network_socket *socket = OBI_LOOKUP(network_owners, &cookie);

	if (socket && socket->owner.tgid == bpf_get_current_pid_tgid() >> 32)
		socket->role = NETWORK_ROLE_CLIENT;
	else
		network_own(cookie, NETWORK_ROLE_CLIENT);
	return 1;
}

int network_dial4(struct bpf_sock_addr *ctx)
{
	return network_dialled(ctx);
}

int network_dial6(struct bpf_sock_addr *ctx)
{
	return network_dialled(ctx);
}

/* In bind(): who does that to a port of its choice serves there. */
static __always_inline int network_bound(struct bpf_sock_addr *ctx)
{
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct network_socket *socket = OBI_LOOKUP(network_owners, &cookie);
	u8 role = ctx->user_port ? NETWORK_ROLE_SERVER : NETWORK_ROLE_UNKNOWN;

	if (!socket)
		network_own(cookie, role);
	else if (socket->role == NETWORK_ROLE_UNKNOWN)
		socket->role = role;
	return 1;
}

int network_bind4(struct bpf_sock_addr *ctx)
{
	return network_bound(ctx);
}

int network_bind6(struct bpf_sock_addr *ctx)
{
	return network_bound(ctx);
}

static __always_inline void network_opening_of(const struct network_packet *packet,
					       struct network_opening_key *key)
{
	bool sent = packet->direction == NETWORK_TRANSMIT;

	__builtin_memcpy(key->local, sent ? packet->source : packet->destination, 16);
	__builtin_memcpy(key->peer, sent ? packet->destination : packet->source, 16);
	key->local_port = sent ? packet->source_port : packet->destination_port;
	key->peer_port = sent ? packet->destination_port : packet->source_port;
}

/* A SYN that a listener received. */
static __always_inline void network_opens(const struct network_packet *packet,
					  struct network_socket *listener, u64 cookie)
{
	struct network_opening_key key = {};

	listener->role = NETWORK_ROLE_SERVER;
	network_opening_of(packet, &key);
	OBI_UPDATE(network_opening, &key, &cookie);
}

/* The first packet of a socket that nobody made: it is its listener's from now on. */
static __always_inline struct network_socket *network_adopt(const struct network_packet *packet,
							    u64 cookie)
{
	struct network_opening_key key = {};
	struct network_socket *listener;
	u64 *of;

	network_opening_of(packet, &key);
	of = OBI_LOOKUP(network_opening, &key);
	if (!of)
		return 0;
	listener = OBI_LOOKUP(network_owners, of);
	if (!listener)
		return 0;
	OBI_UPDATE(network_owners, &cookie, listener);
	OBI_DELETE(network_opening, &key);
	return OBI_LOOKUP(network_owners, &cookie);
}

static __always_inline struct network_socket *network_socket_of(struct __sk_buff *ctx,
								const struct network_packet *packet)
{
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct network_socket *socket = OBI_LOOKUP(network_owners, &cookie);
	u8 syn = packet->tcp_flags & (NETWORK_TCP_SYN | NETWORK_TCP_ACK);

	if (packet->transport != NETWORK_TCP)
		return socket;
	if (!socket)
		return network_adopt(packet, cookie);
	if (syn == NETWORK_TCP_SYN && packet->direction == NETWORK_RECEIVE)
		network_opens(packet, socket, cookie);
	return socket;
}

static __always_inline void network_seen(struct __sk_buff *ctx, u8 direction, bool segmented)
{
	struct obi_account *account = OBI_SEEN(network_account);
	struct network_packet packet = {};
	struct network_socket *socket;
	u32 weight;

	if (!network_loopback && ctx->ifindex == NETWORK_LOOPBACK_IFINDEX) {
		OBI_OUTCOME(account, filtered);
		return;
	}
	network_parse(ctx, 0, direction, segmented, &packet);
	socket = network_socket_of(ctx, &packet);
	weight = obi_sample(OBI_LIVE_GET(u32, network_sample_every));
	if (weight)
		network_count(&packet, socket, weight, account);
	else
		OBI_OUTCOME(account, sampled_out);
}

int network_in(struct __sk_buff *ctx)
{
	network_seen(ctx, NETWORK_RECEIVE, true);
	return 1;
}

int network_out(struct __sk_buff *ctx)
{
	network_seen(ctx, NETWORK_TRANSMIT, true);
	return 1;
}

/* Before v5.7 the kernel refuses the two above. */
int network_in_skb(struct __sk_buff *ctx)
{
	network_seen(ctx, NETWORK_RECEIVE, false);
	return 1;
}

int network_out_skb(struct __sk_buff *ctx)
{
	network_seen(ctx, NETWORK_TRANSMIT, false);
	return 1;
}

#endif /* OBI_NETWORK_COOKIES_H */
