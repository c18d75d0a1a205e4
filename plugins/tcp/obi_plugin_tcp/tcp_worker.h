/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What each change of state means. One worker per fact; tcp_changed() picks.
 *
 * The current task is the cause only where the caller says so: connect(), listen(), accept() and close() run in their process,
 * everything else may run in whatever task the softirq interrupted.
 */
#ifndef OBI_TCP_WORKER_H
#define OBI_TCP_WORKER_H

static inline __attribute__((always_inline)) void
tcp_listener_key_of(const struct tcp_socket *socket, struct tcp_listener_key *key)
{
	__builtin_memcpy(key->address, socket->local_address, 16);
	key->netns = socket->netns;
	key->port = socket->local_port;
}

static inline __attribute__((always_inline)) void tcp_unlisten(u64 id,
							       const struct tcp_socket *socket)
{
	struct tcp_listener_key key = {};
	struct tcp_listener *listener;

	tcp_listener_key_of(socket, &key);
	listener = OBI_LOOKUP(tcp_listeners, &key);
	if (listener && listener->socket == id)
		OBI_DELETE(tcp_listeners, &key);
}

/*
 * A row whose socket is gone: the kernel has given its address to a new one. Either it ended while tcp_refresh was in the row, which
 * has not come to remove it yet, or nobody saw its end: the kernel runs no program on top of itself on one CPU.
 */
static inline __attribute__((always_inline)) void tcp_gone(u64 id, struct tcp_socket *left)
{
	if (left->closed) {
		tcp_count_last(left);
		return;
	}
	tcp_move(left->state, 0);
	if (left->role == TCP_ROLE_LISTENER)
		tcp_unlisten(id, left);
}

static inline __attribute__((always_inline)) void tcp_remember(u64 id, struct tcp_socket *socket)
{
	struct tcp_socket *left;

	socket->id = id;
	if (OBI_INSERT(tcp_sockets, &id, socket)) {
		left = OBI_LOOKUP(tcp_sockets, &id);
		if (!left) {
			OBI_OUTCOME(OBI_SEEN(tcp_account), lost);
			OBI_LOSE(tcp_lost, TCP_LOST_SOCKET);
			return;
		}
		/* Its change of state was seen while tcp_seed looked at it. */
		if (socket->seeded)
			return;
		tcp_gone(id, left);
		OBI_UPDATE(tcp_sockets, &id, socket);
	}
	tcp_move(0, socket->state);
}

/* In connect(): the current task is the owner. The local port is not chosen yet. */
static inline __attribute__((always_inline)) void tcp_connecting(const struct tcp_source *source)
{
	struct tcp_socket socket = {};

	obi_owner_now(&socket.owner);
	tcp_read_endpoints(source, &socket);
	socket.opened_ns = bpf_ktime_get_ns();
	socket.state = OBI_TCP_SYN_SENT;
	socket.role = TCP_ROLE_CLIENT;
	socket.claimed = 1;
	tcp_remember(tcp_socket_id(source), &socket);
}

/* In listen(): the current task is the owner of the listener. */
static inline __attribute__((always_inline)) void tcp_listening(u64 id, struct tcp_socket *socket)
{
	struct tcp_listener_key key = {};
	struct tcp_listener listener = {};

	socket->state = OBI_TCP_LISTEN;
	socket->role = TCP_ROLE_LISTENER;
	socket->claimed = 1;
	tcp_remember(id, socket);
	tcp_listener_key_of(socket, &key);
	listener.owner = socket->owner;
	listener.socket = id;
	if (OBI_UPDATE(tcp_listeners, &key, &listener))
		OBI_LOSE(tcp_lost, TCP_LOST_LISTENER);
}

static inline __attribute__((always_inline)) void tcp_listening_now(const struct tcp_source *source)
{
	struct tcp_socket socket = {};

	obi_owner_now(&socket.owner);
	tcp_read_endpoints(source, &socket);
	tcp_listening(tcp_socket_id(source), &socket);
}

/* Who listens on the connection's local port: on its address, on any IPv6 address, on any IPv4 address. */
static inline __attribute__((always_inline)) bool tcp_find_listener(const struct tcp_socket *socket,
								    struct obi_owner *owner)
{
	struct tcp_listener_key key = {};
	struct tcp_listener *listener;

	tcp_listener_key_of(socket, &key);
	listener = OBI_LOOKUP(tcp_listeners, &key);
	if (!listener) {
		__builtin_memset(key.address, 0, sizeof(key.address));
		listener = OBI_LOOKUP(tcp_listeners, &key);
	}
	if (!listener) {
		__builtin_memset(key.address + 10, 0xff, 2);
		listener = OBI_LOOKUP(tcp_listeners, &key);
	}
	if (listener)
		*owner = listener->owner;
	return listener != 0;
}

/* A passive open: the listener's owner stands in until somebody accepts. */
static inline __attribute__((always_inline)) void
tcp_passive_established(const struct tcp_source *source)
{
	struct tcp_socket socket = {};

	tcp_read_endpoints(source, &socket);
	tcp_find_listener(&socket, &socket.owner);
	socket.opened_ns = bpf_ktime_get_ns();
	socket.established_ns = socket.opened_ns;
	socket.handshake_ns = tcp_read_rtt_us(source) * 1000ULL;
	socket.state = OBI_TCP_ESTABLISHED;
	socket.role = TCP_ROLE_SERVER;
	tcp_remember(tcp_socket_id(source), &socket);
}

static inline __attribute__((always_inline)) void tcp_established(const struct tcp_source *source,
								  struct tcp_socket *socket)
{
	socket->established_ns = bpf_ktime_get_ns();
	socket->handshake_ns = socket->established_ns - socket->opened_ns;
	tcp_read_endpoints(source, socket);
	tcp_count_connect(socket, TCP_OK, socket->handshake_ns);
	tcp_tell_connect(source, socket, TCP_OK, socket->handshake_ns);
}

/* The current task accepted the connection, or closes one that nobody was seen to accept. */
static inline __attribute__((always_inline)) void tcp_claim(struct tcp_socket *socket)
{
	socket->claimed = 1;
	obi_owner_now(&socket->owner);
	tcp_count_connect(socket, TCP_OK, socket->handshake_ns);
}

static inline __attribute__((always_inline)) void tcp_failed(const struct tcp_source *source,
							     struct tcp_socket *socket)
{
	u32 outcome = tcp_read_outcome(source);
	u64 duration_ns = bpf_ktime_get_ns() - socket->opened_ns;

	tcp_count_connect(socket, outcome, duration_ns);
	tcp_tell_connect(source, socket, outcome, duration_ns);
}

static inline __attribute__((always_inline)) void tcp_count_end(const struct tcp_source *source,
								struct tcp_socket *socket)
{
	if (!socket->claimed)
		tcp_count_connect(socket, TCP_OK, socket->handshake_ns);
	if (!socket->established_ns && !socket->seeded) {
		tcp_failed(source, socket);
		return;
	}
	if (socket->seeded)
		return;
	tcp_count_lifetime(socket, bpf_ktime_get_ns() - socket->established_ns);
	tcp_tell_connection(source, socket);
}

/*
 * The last change of a socket. tcp_refresh may be in this row on another CPU, or on this one below us, and be adding the same bytes:
 * then the row stays, marked closed, with what its counters said at last. A refresh adds the rest and removes it a second later: by
 * then the address is not being given to a new socket, or was (tcp_remember). Both sides mark first and look second (the atomic add
 * is the barrier).
 */
static inline __attribute__((always_inline)) void tcp_finish(const struct tcp_source *source,
							     u64 id, struct tcp_socket *socket)
{
	tcp_move(socket->state, 0);
	if (socket->role == TCP_ROLE_LISTENER)
		tcp_unlisten(id, socket);
	else
		tcp_count_end(source, socket);
	socket->closed_ns = bpf_ktime_get_ns();
	__sync_fetch_and_add(&socket->closed, 1);
	if (socket->reading) {
		tcp_keep_last(source, socket);
		return;
	}
	tcp_count_now(source, socket);
	OBI_DELETE(tcp_sockets, &id);
}

static inline __attribute__((always_inline)) void tcp_changed(const struct tcp_source *source,
							      int old_state, int new_state)
{
	u64 id = tcp_socket_id(source);
	struct tcp_socket *socket;

	if (new_state == OBI_TCP_SYN_SENT) {
		tcp_connecting(source);
		return;
	}
	if (new_state == OBI_TCP_LISTEN) {
		tcp_listening_now(source);
		return;
	}
	socket = OBI_LOOKUP(tcp_sockets, &id);
	if (!socket || socket->closed) {
		if (old_state == OBI_TCP_SYN_RECV && new_state == OBI_TCP_ESTABLISHED)
			tcp_passive_established(source);
		return;
	}
	if (old_state == OBI_TCP_LISTEN && new_state == OBI_TCP_SYN_RECV) {
		/* The listener's copy that is to become a connection: the row is another's. */
		tcp_gone(id, socket);
		OBI_DELETE(tcp_sockets, &id);
		return;
	}
	if (new_state == OBI_TCP_CLOSE) {
		tcp_finish(source, id, socket);
		return;
	}
	/* Only close(), shutdown() and exit lead here, in their process. */
	if (!socket->claimed && (new_state == OBI_TCP_FIN_WAIT1 || new_state == OBI_TCP_LAST_ACK))
		tcp_claim(socket);
	if (new_state == OBI_TCP_ESTABLISHED && !socket->established_ns && !socket->seeded)
		tcp_established(source, socket);
	tcp_move(socket->state, new_state);
	socket->state = new_state;
}

#endif /* OBI_TCP_WORKER_H */
