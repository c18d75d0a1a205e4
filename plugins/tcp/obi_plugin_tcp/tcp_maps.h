/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the tcp probe keeps: one table of sockets, and the aggregates that user space reads. */
#ifndef OBI_TCP_MAPS_H
#define OBI_TCP_MAPS_H

/* Also the order of the names in readers.py. */
enum tcp_role { TCP_ROLE_LISTENER, TCP_ROLE_CLIENT, TCP_ROLE_SERVER };

enum tcp_outcome {
	TCP_OK,
	TCP_REFUSED,
	TCP_RESET,
	TCP_TIMED_OUT,
	TCP_CANCELED,
	TCP_HOST_UNREACHABLE,
	TCP_NET_UNREACHABLE,
	TCP_OTHER,
};

enum tcp_direction { TCP_RECEIVE, TCP_TRANSMIT };

enum tcp_retransmit { TCP_FAST, TCP_TIMEOUT, TCP_TAIL_LOSS_PROBE, TCP_SYN, TCP_SYN_ACK };

/* Why a reset was sent (the kernel's reason, v6.10+) or what one that came did. */
enum tcp_reset_cause {
	TCP_RESET_OTHER,
	TCP_RESET_NO_SOCKET,
	TCP_RESET_ABORT_ON_CLOSE,
	TCP_RESET_ABORT_ON_LINGER,
	TCP_RESET_ABORT_ON_DATA,
	TCP_RESET_ABORT_ON_MEMORY,
	TCP_RESET_DISCONNECT_WITH_DATA,
	TCP_RESET_KEEPALIVE_TIMEOUT,
	TCP_RESET_INVALID_SEGMENT,
	TCP_RESET_CONNECT_REFUSED,
	TCP_RESET_BY_PEER,
};

/* Places where tcp_lost counts. */
enum tcp_loss {
	TCP_LOST_SOCKET, /* a table was full … */
	TCP_LOST_LISTENER,
	TCP_LOST_ROW,
	TCP_LOST_EVENT, /* … or the ring */
	TCP_LIMITED_EVENT, /* more events than the limit lets out */
	TCP_LOSSES,
};

/* Bucket layouts, in step with `Buckets` in catalogue.py: all have 96, from 2^-17 s (7.6 us), 2^-10 s (1 ms), 2^-20 s (1 us). */
#define TCP_BUCKETS 96
#define TCP_HANDSHAKE_FIRST (-68)
#define TCP_LIFETIME_FIRST (-40)
#define TCP_RTT_FIRST (-80)

/* One socket from its first change of state to its last; the key is the address of its struct sock. */
struct tcp_socket {
	struct obi_owner owner;
	u64 id; /* the key again: a row that is given to another socket is known by it */
	u8 local_address[16];
	u8 peer_address[16];
	u64 opened_ns; /* first SYN; monotonic clock */
	u64 established_ns; /* 0: not yet, or before the agent saw it */
	u64 handshake_ns; /* 0: unknown */
	u64 rx_counted; /* bytes that tcp_io has already */
	u64 tx_counted;
	u64 drops_counted; /* of a listener, that tcp_listen_drops has already */
	u64 reading; /* tcp_refresh is in this row; see tcp_finish() */
	u64 closed;
	u64 closed_ns;
	u64 last_rx; /* what the counters said at the close, if tcp_refresh was in the row */
	u64 last_tx;
	u64 last_drops;
	u32 netns;
	u16 local_port;
	u16 peer_port;
	u16 family;
	u8 state;
	u8 role;
	u8 claimed; /* the owner is the process that connected or accepted */
	u8 seeded; /* existed before the agent: neither connect nor lifetime is counted */
	u8 _pad[2];
};

OBI_HASH(tcp_sockets, u64, struct tcp_socket, 16384);

struct tcp_listener_key {
	u8 address[16];
	u32 netns;
	u16 port;
	u16 _pad;
};

struct tcp_listener {
	struct obi_owner owner;
	u64 socket;
};

OBI_HASH(tcp_listeners, struct tcp_listener_key, struct tcp_listener, 4096);

struct tcp_connect_key {
	struct obi_owner owner;
	u32 role;
	u32 outcome;
};

OBI_HASH(tcp_connects, struct tcp_connect_key, u64, 4096);

struct tcp_durations {
	u64 counts[TCP_BUCKETS];
	u64 sum_ns;
};

OBI_HASH(tcp_handshake_duration, struct tcp_connect_key, struct tcp_durations, 1024);

struct tcp_role_key {
	struct obi_owner owner;
	u32 role;
	u32 family;
};

OBI_HASH(tcp_connection_duration, struct tcp_role_key, struct tcp_durations, 1024);
OBI_HASH(tcp_rtt, struct tcp_role_key, struct tcp_durations, 1024);

struct tcp_io_key {
	struct obi_owner owner;
	u32 direction;
	u32 _pad;
};

OBI_HASH(tcp_io, struct tcp_io_key, u64, 4096);

/* Sockets now in each state (index: TCP_ESTABLISHED …); wraps below zero for a moment while CPUs race. */
OBI_ARRAY(tcp_connections, u32, u64, OBI_TCP_STATES);

OBI_LOSSES(tcp_lost, TCP_LOSSES);

/* A thing is one addition to a row, or a socket that found no room. */
OBI_ACCOUNT(tcp_account);

struct tcp_retransmit_key {
	struct obi_owner owner;
	u32 type;
	u32 _pad;
};

OBI_HASH(tcp_retransmits, struct tcp_retransmit_key, u64, 4096);

struct tcp_reset_key {
	struct obi_owner owner; /* zero: no socket of ours */
	u32 direction;
	u32 cause;
};

OBI_HASH(tcp_resets, struct tcp_reset_key, u64, 4096);

struct tcp_drop_key {
	struct obi_owner owner;
	u32 port; /* 0 unless tcp_by_port */
	u32 _pad;
};

OBI_HASH(tcp_listen_drops, struct tcp_drop_key, u64, 1024);

/* A new row starts from here: a histogram is too large for the stack. */
OBI_ARRAY(tcp_zero, u32, struct tcp_durations, 1);

#endif /* OBI_TCP_MAPS_H */
