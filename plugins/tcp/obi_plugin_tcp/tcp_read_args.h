/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What a change of state tells, read from the tracepoint's own arguments: for BCC, which reads no kernel struct. Outcomes other
 * than success are TCP_OTHER, bytes and round-trip times are unknown, and all network namespaces look like one.
 */
#ifndef OBI_TCP_READ_ARGS_H
#define OBI_TCP_READ_ARGS_H

struct tcp_state_args {
	u64 _common;
	u64 skaddr;
	int oldstate;
	int newstate;
	u16 sport;
	u16 dport;
	u16 family;
	u16 protocol;
	u8 saddr[4];
	u8 daddr[4];
	u8 saddr_v6[16];
	u8 daddr_v6[16];
};

struct tcp_source {
	u64 sk;
	u8 local_address[16];
	u8 peer_address[16];
	u16 family;
	u16 local_port;
	u16 peer_port;
};

static inline void tcp_source_of_args(struct tcp_state_args *args, struct tcp_source *source)
{
	source->sk = args->skaddr;
	source->family = args->family;
	source->local_port = args->sport;
	source->peer_port = args->dport;
	/* The kernel fills the v6 fields for both families (v4-mapped for AF_INET). */
	__builtin_memcpy(source->local_address, args->saddr_v6, 16);
	__builtin_memcpy(source->peer_address, args->daddr_v6, 16);
}

static inline u64 tcp_socket_id(const struct tcp_source *source)
{
	return source->sk;
}

static inline void tcp_read_endpoints(const struct tcp_source *source, struct tcp_socket *socket)
{
	socket->family = source->family;
	socket->local_port = source->local_port;
	socket->peer_port = source->peer_port;
	socket->netns = 0;
	__builtin_memcpy(socket->local_address, source->local_address, 16);
	__builtin_memcpy(socket->peer_address, source->peer_address, 16);
}

static inline u32 tcp_read_outcome(const struct tcp_source *source)
{
	return TCP_OTHER;
}

static inline void tcp_read_bytes(const struct tcp_source *source, u64 *rx, u64 *tx)
{
	*rx = 0;
	*tx = 0;
}

static inline void tcp_read_bytes_outside(const struct tcp_source *source, u64 *rx, u64 *tx)
{
	tcp_read_bytes(source, rx, tx);
}

static inline u32 tcp_read_rtt_us(const struct tcp_source *source)
{
	return 0;
}

static inline u32 tcp_read_retransmits(const struct tcp_source *source)
{
	return 0;
}

static inline u32 tcp_read_drops(const struct tcp_source *source)
{
	return 0;
}

#endif /* OBI_TCP_READ_ARGS_H */
