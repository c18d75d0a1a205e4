/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The few things that leave the kernel one by one: slow and failed connects, a sample of ended connections, resets. */
#ifndef OBI_TCP_EVENT_H
#define OBI_TCP_EVENT_H

/* A connect that takes longer is told; ns. */
OBI_LIVE(u64, tcp_slow_ns);
/* One ended connection in so many is told; 0: none. */
OBI_LIVE(u32, tcp_span_every);
/* Events a second that may leave, and as many at once. */
OBI_LIVE(u32, tcp_event_rate);

OBI_TOKENS(tcp_tokens);

enum tcp_event_kind { TCP_EVENT_CONNECT, TCP_EVENT_CONNECTION, TCP_EVENT_RESET };

struct tcp_event {
	struct obi_owner owner;
	u8 local_address[16];
	u8 peer_address[16];
	u64 start_ns; /* monotonic clock */
	u64 end_ns;
	u64 rx_bytes;
	u64 tx_bytes;
	u32 rtt_us;
	u32 retransmits;
	u16 local_port;
	u16 peer_port;
	u8 kind;
	u8 role;
	u8 outcome; /* of a connect; the cause, of a reset */
	u8 direction; /* of a reset */
};

OBI_RING(tcp_events, 262144);
OBI_RECORD(tcp_events, struct tcp_event);

/* `what` is the outcome of a connect or the cause of a reset. */
static inline __attribute__((always_inline)) void tcp_tell(const struct tcp_source *source,
							   const struct tcp_socket *socket, u8 kind,
							   u64 start_ns, u8 what, u8 direction)
{
	u32 rate = OBI_LIVE_GET(u32, tcp_event_rate);
	struct tcp_event event = {};

	if (!OBI_TOKEN(tcp_tokens, rate, rate)) {
		OBI_LOSE(tcp_lost, TCP_LIMITED_EVENT);
		return;
	}
	event.owner = socket->owner;
	__builtin_memcpy(event.local_address, socket->local_address, 16);
	__builtin_memcpy(event.peer_address, socket->peer_address, 16);
	event.start_ns = start_ns;
	event.end_ns = bpf_ktime_get_ns();
	tcp_read_bytes(source, &event.rx_bytes, &event.tx_bytes);
	event.rtt_us = tcp_read_rtt_us(source);
	event.retransmits = tcp_read_retransmits(source);
	event.local_port = socket->local_port;
	event.peer_port = socket->peer_port;
	event.kind = kind;
	event.role = socket->role;
	event.outcome = what;
	event.direction = direction;
	if (OBI_EMIT(tcp_events, &event))
		OBI_LOSE(tcp_lost, TCP_LOST_EVENT);
}

static inline __attribute__((always_inline)) void tcp_tell_connect(const struct tcp_source *source,
								   const struct tcp_socket *socket,
								   u32 outcome, u64 duration_ns)
{
	if (outcome != TCP_OK || duration_ns > OBI_LIVE_GET(u64, tcp_slow_ns))
		tcp_tell(source, socket, TCP_EVENT_CONNECT, socket->opened_ns, outcome, 0);
}

static inline __attribute__((always_inline)) void
tcp_tell_connection(const struct tcp_source *source, const struct tcp_socket *socket)
{
	u32 every = OBI_LIVE_GET(u32, tcp_span_every);

	if (every && obi_sample(every))
		tcp_tell(source, socket, TCP_EVENT_CONNECTION, socket->established_ns, TCP_OK, 0);
}

#endif /* OBI_TCP_EVENT_H */
