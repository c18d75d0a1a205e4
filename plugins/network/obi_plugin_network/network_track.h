/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Connections of TCP and UDP by state, told from their packets.
 *
 * The table is an LRU: a new connection drives out the one that was looked at least lately. Of an established TCP connection only
 * the socket is looked at, so its data costs nothing here; network_alive looks the table up for sockets that live. Everything that
 * tried to get in has ended, is here, or was driven out: so the last is known exactly, and counted as lost.
 */
#ifndef OBI_NETWORK_TRACK_H
#define OBI_NETWORK_TRACK_H

#include "network_maps.h"
#include "network_packet.h"

/* Also the order of the names in catalogue.py. 0 is no state. */
enum network_state {
	NETWORK_NO_STATE,
	NETWORK_SYN_SENT,
	NETWORK_SYN_RECEIVED,
	NETWORK_ESTABLISHED,
	NETWORK_FIN_WAIT, /* we closed our half */
	NETWORK_CLOSE_WAIT, /* the peer closed its half */
	NETWORK_TIME_WAIT, /* both did; only where no socket says when it is over */
	NETWORK_UDP_NEW, /* seen in one direction */
	NETWORK_UDP_REPLIED, /* in both */
	NETWORK_STATES,
};

struct network_tracked_key {
	u8 local[16];
	u8 peer[16];
	u32 netns; /* 0: not known */
	u16 local_port;
	u16 peer_port;
	u8 transport;
	u8 _pad[7];
};

_Static_assert(sizeof(struct network_tracked_key) == 48, "no hole that would be part of a key");

struct network_tracked {
	u64 quiet_ns; /* since when no packet was seen; monotonic clock, as fine as the sweeps */
	u8 state; /* enum network_state */
	u8 direction; /* of the first packet */
	u8 touched; /* a packet came since the last sweep */
	u8 _pad[5];
};

OBI_LRU_HASH(network_tracked, struct network_tracked_key, struct network_tracked, 16384);

/* Cells of network_tally; all only grow. */
enum network_tally_cell { NETWORK_TALLY_TRIED, NETWORK_TALLY_ENDED, NETWORK_TALLIES };

OBI_ARRAY(network_tally, u32, u64, NETWORK_TALLIES);

/* 1: connections are tracked. */
OBI_SETTING(u32, network_tracking, 1);

static __always_inline void network_tell(u32 cell)
{
	u64 *tally = OBI_LOOKUP(network_tally, &cell);

	if (tally)
		__sync_fetch_and_add(tally, 1);
}

static __always_inline void network_tracked_end(const struct network_tracked_key *key)
{
	if (!OBI_DELETE(network_tracked, key))
		network_tell(NETWORK_TALLY_ENDED);
}

static __always_inline void network_tracked_begin(const struct network_tracked_key *key, u8 state,
						  u8 direction)
{
	struct network_tracked entry = {};
	long result;

	entry.quiet_ns = bpf_ktime_get_ns();
	entry.state = state;
	entry.direction = direction;
	result = OBI_INSERT(network_tracked, key, &entry);
	/* Another CPU was first; it has counted. */
	if (result != -17)
		network_tell(NETWORK_TALLY_TRIED);
}

static __always_inline void network_tracked_key_of(const struct network_packet *packet,
						   const struct network_socket *socket,
						   struct network_tracked_key *key)
{
	bool sent = packet->direction == NETWORK_TRANSMIT;

	__builtin_memcpy(key->local, sent ? packet->source : packet->destination, 16);
	__builtin_memcpy(key->peer, sent ? packet->destination : packet->source, 16);
	key->local_port = sent ? packet->source_port : packet->destination_port;
	key->peer_port = sent ? packet->destination_port : packet->source_port;
	/* One direction has no socket at an interface: neither may say. */
	key->netns = socket && !packet->at_interface ? socket->netns : 0;
	key->transport = packet->transport;
}

static __always_inline void network_track_udp(const struct network_packet *packet,
					      const struct network_tracked_key *key,
					      struct network_tracked *entry)
{
	if (!entry) {
		network_tracked_begin(key, NETWORK_UDP_NEW, packet->direction);
		return;
	}
	if (entry->direction != packet->direction)
		entry->state = NETWORK_UDP_REPLIED;
	entry->touched = 1;
}

/* What a segment makes of a connection in `state`. */
static __always_inline u8 network_tcp_next(u8 state, const struct network_packet *packet)
{
	bool sent = packet->direction == NETWORK_TRANSMIT;

	if (packet->tcp_flags & NETWORK_TCP_FIN) {
		u8 half = sent ? NETWORK_FIN_WAIT : NETWORK_CLOSE_WAIT;

		if (state == NETWORK_TIME_WAIT ||
		    (state != half && (state == NETWORK_FIN_WAIT || state == NETWORK_CLOSE_WAIT)))
			return NETWORK_TIME_WAIT;
		return half;
	}
	if (packet->tcp_flags & NETWORK_TCP_SYN)
		return state;
	if (state == NETWORK_SYN_SENT || state == NETWORK_SYN_RECEIVED)
		return NETWORK_ESTABLISHED;
	return state;
}

/* The SYN of a connection, or the first that is seen of one. */
static __always_inline void network_tcp_begin(const struct network_packet *packet,
					      const struct network_tracked_key *key)
{
	bool sent = packet->direction == NETWORK_TRANSMIT;
	u8 state = NETWORK_ESTABLISHED;

	if (packet->tcp_flags & (NETWORK_TCP_FIN | NETWORK_TCP_RST))
		return;
	if (packet->tcp_flags & NETWORK_TCP_SYN)
		state = sent == !(packet->tcp_flags & NETWORK_TCP_ACK) ? NETWORK_SYN_SENT
								       : NETWORK_SYN_RECEIVED;
	network_tracked_begin(key, state, packet->direction);
}

/* Whether the connection has nothing to say until its next SYN, FIN or reset: it is established, or over. */
static __always_inline bool network_track_tcp(const struct network_packet *packet,
					      const struct network_tracked_key *key,
					      struct network_tracked *entry)
{
	u8 next;

	if (!entry || (entry->state == NETWORK_TIME_WAIT && packet->tcp_flags == NETWORK_TCP_SYN)) {
		if (entry)
			network_tracked_end(key);
		network_tcp_begin(packet, key);
		return false;
	}
	next = network_tcp_next(entry->state, packet);
	if ((packet->tcp_flags & NETWORK_TCP_RST) ||
	    (next == NETWORK_TIME_WAIT && !packet->at_interface)) {
		network_tracked_end(key);
		return true;
	}
	entry->state = next;
	entry->touched = 1;
	return next == NETWORK_ESTABLISHED;
}

/* Whether the packet says nothing about its connection: data of an established one, the last ACK of one that is over. */
static __always_inline bool network_track_idle(const struct network_packet *packet,
					       const struct network_socket *socket)
{
	return packet->transport == NETWORK_TCP && socket && socket->tracked &&
	       !(packet->tcp_flags & (NETWORK_TCP_FIN | NETWORK_TCP_SYN | NETWORK_TCP_RST));
}

static __always_inline void network_track(const struct network_packet *packet,
					  struct network_socket *socket)
{
	struct network_tracked_key key = {};
	struct network_tracked *entry;

	if (!network_tracking || network_track_idle(packet, socket))
		return;
	if (packet->malformed || packet->fragment == NETWORK_LATER_FRAGMENT ||
	    (packet->transport != NETWORK_TCP && packet->transport != NETWORK_UDP))
		return;
	network_tracked_key_of(packet, socket, &key);
	entry = OBI_LOOKUP(network_tracked, &key);
	if (packet->transport == NETWORK_UDP) {
		network_track_udp(packet, &key, entry);
		return;
	}
	/* A listener has many connections. */
	if (network_track_tcp(packet, &key, entry) && socket && !socket->listens)
		socket->tracked = 1;
}

#endif /* OBI_NETWORK_TRACK_H */
