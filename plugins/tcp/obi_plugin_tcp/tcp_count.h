/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Adding to the aggregates: one function per map. */
#ifndef OBI_TCP_COUNT_H
#define OBI_TCP_COUNT_H

/* 1: tcp_listen_drops keeps ports apart. */
OBI_SETTING(u32, tcp_by_port, 0);

/* Add to the row of `key`, and to the account. */
#define TCP_ADD(map, key, n)                                                                       \
	({                                                                                         \
		struct obi_account *_entry = OBI_SEEN(tcp_account);                                \
		if (OBI_ADD(map, key, n)) {                                                        \
			OBI_OUTCOME(_entry, exported);                                             \
		} else {                                                                           \
			OBI_OUTCOME(_entry, lost);                                                 \
			OBI_LOSE(tcp_lost, TCP_LOST_ROW);                                          \
		}                                                                                  \
	})

/* A socket leaves `from` and enters `to`; 0 is outside. */
static inline __attribute__((always_inline)) void tcp_move(u32 from, u32 to)
{
	if (from)
		OBI_ADD(tcp_connections, &from, -1ULL);
	if (to)
		OBI_ADD(tcp_connections, &to, 1);
}

/* Add `weight` durations to the row of `key`, which begins at zero. */
#define TCP_ADD_DURATION(map, key, first, duration_ns, weight)                                     \
	({                                                                                         \
		struct obi_account *_entry = OBI_SEEN(tcp_account);                                \
		struct tcp_durations *_row = OBI_LOOKUP(map, key);                                 \
		u32 _slot = obi_slot(duration_ns, first, TCP_BUCKETS);                             \
		if (!_row) {                                                                       \
			u32 _first = 0;                                                            \
			struct tcp_durations *_zero = OBI_LOOKUP(tcp_zero, &_first);               \
			if (_zero) {                                                               \
				OBI_INSERT(map, key, _zero);                                       \
				_row = OBI_LOOKUP(map, key);                                       \
			}                                                                          \
		}                                                                                  \
		if (_row && _slot < TCP_BUCKETS) {                                                 \
			__sync_fetch_and_add(&_row->counts[_slot], weight);                        \
			__sync_fetch_and_add(&_row->sum_ns, (duration_ns) * (weight));             \
			OBI_OUTCOME(_entry, exported);                                             \
		} else {                                                                           \
			OBI_OUTCOME(_entry, lost);                                                 \
			OBI_LOSE(tcp_lost, TCP_LOST_ROW);                                          \
		}                                                                                  \
	})

/* One connect with its outcome, and how long it took to get it (0: unknown). */
static inline __attribute__((always_inline)) void tcp_count_connect(const struct tcp_socket *socket,
								    u32 outcome, u64 duration_ns)
{
	struct tcp_connect_key key = {};

	obi_owner_key(&key.owner, &socket->owner);
	key.role = socket->role;
	key.outcome = outcome;
	TCP_ADD(tcp_connects, &key, 1);
	if (duration_ns)
		TCP_ADD_DURATION(tcp_handshake_duration, &key, TCP_HANDSHAKE_FIRST, duration_ns,
				 1ULL);
}

static inline __attribute__((always_inline)) void
tcp_count_lifetime(const struct tcp_socket *socket, u64 duration_ns)
{
	struct tcp_role_key key = {};

	obi_owner_key(&key.owner, &socket->owner);
	key.role = socket->role;
	TCP_ADD_DURATION(tcp_connection_duration, &key, TCP_LIFETIME_FIRST, duration_ns, 1ULL);
}

/* A round-trip time that stands for `weight` of them. */
static inline __attribute__((always_inline)) void tcp_count_rtt(const struct tcp_socket *socket,
								u64 rtt_ns, u64 weight)
{
	struct tcp_role_key key = {};

	obi_owner_key(&key.owner, &socket->owner);
	key.role = socket->role;
	key.family = socket->family;
	TCP_ADD_DURATION(tcp_rtt, &key, TCP_RTT_FIRST, rtt_ns, weight);
}

static inline __attribute__((always_inline)) void tcp_count_bytes(const struct obi_owner *owner,
								  u32 direction, u64 bytes)
{
	struct tcp_io_key key = {};

	obi_owner_key(&key.owner, owner);
	key.direction = direction;
	TCP_ADD(tcp_io, &key, bytes);
}

/* Add what the connection carried since it was last looked at. */
static inline __attribute__((always_inline)) void tcp_count_io(struct tcp_socket *socket, u64 rx,
							       u64 tx)
{
	if (rx > socket->rx_counted) {
		tcp_count_bytes(&socket->owner, TCP_RECEIVE, rx - socket->rx_counted);
		socket->rx_counted = rx;
	}
	if (tx > socket->tx_counted) {
		tcp_count_bytes(&socket->owner, TCP_TRANSMIT, tx - socket->tx_counted);
		socket->tx_counted = tx;
	}
}

/* Add what the listener dropped since it was last looked at. */
static inline __attribute__((always_inline)) void tcp_count_drops(struct tcp_socket *socket,
								  u64 drops)
{
	struct tcp_drop_key key = {};

	if (drops <= socket->drops_counted)
		return;
	obi_owner_key(&key.owner, &socket->owner);
	if (tcp_by_port)
		key.port = socket->local_port;
	TCP_ADD(tcp_listen_drops, &key, drops - socket->drops_counted);
	socket->drops_counted = drops;
}

/* Add what the socket's counters say now. */
static inline __attribute__((always_inline)) void tcp_count_now(const struct tcp_source *source,
								struct tcp_socket *socket)
{
	u64 rx, tx;

	if (socket->role == TCP_ROLE_LISTENER) {
		tcp_count_drops(socket, tcp_read_drops(source));
		return;
	}
	tcp_read_bytes(source, &rx, &tx);
	tcp_count_io(socket, rx, tx);
}

/* Keep what the socket's counters say now: tcp_refresh is in the row and may be adding the same. */
static inline __attribute__((always_inline)) void tcp_keep_last(const struct tcp_source *source,
								struct tcp_socket *socket)
{
	if (socket->role == TCP_ROLE_LISTENER)
		socket->last_drops = tcp_read_drops(source);
	else
		tcp_read_bytes(source, &socket->last_rx, &socket->last_tx);
}

/* Add the rest of a closed socket that was left so. */
static inline __attribute__((always_inline)) void tcp_count_last(struct tcp_socket *socket)
{
	if (socket->role == TCP_ROLE_LISTENER)
		tcp_count_drops(socket, socket->last_drops);
	else
		tcp_count_io(socket, socket->last_rx, socket->last_tx);
}

#endif /* OBI_TCP_COUNT_H */
