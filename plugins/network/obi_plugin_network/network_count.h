/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Adding a packet to the row of its owner, or of its conversation. */
#ifndef OBI_NETWORK_COUNT_H
#define OBI_NETWORK_COUNT_H

#include "network_listeners.h"
#include "network_maps.h"
#include "network_packet.h"

/* The row of `key`, which begins at zero; 0: the map is full. */
#define NETWORK_ROW(map, key, row_type)                                                            \
	({                                                                                         \
		row_type *_row = OBI_LOOKUP(map, key);                                             \
		if (!_row) {                                                                       \
			row_type _zero = {};                                                       \
			OBI_INSERT(map, key, &_zero);                                              \
			_row = OBI_LOOKUP(map, key);                                               \
		}                                                                                  \
		_row;                                                                              \
	})

/* Add one packet, which stands for `weight`; false: there is no row for it. */
static __always_inline bool network_add(struct network_sums *sums,
					const struct network_packet *packet, u64 weight)
{
	if (!sums)
		return false;
	__sync_fetch_and_add(&sums->packets, packet->segments * weight);
	__sync_fetch_and_add(&sums->bytes, packet->wire_bytes * weight);
	return true;
}

static __always_inline bool network_ephemeral(u16 port)
{
	return port >= OBI_LIVE_GET(u32, network_min_port) &&
	       port <= OBI_LIVE_GET(u32, network_max_port);
}

/* Which end is the server: the socket knows; or somebody on this node listens there; or the one whose port no kernel chooses. */
static __always_inline u32 network_role_of(const struct network_packet *packet,
					   const struct network_socket *socket, u16 local, u16 peer)
{
	if (socket && socket->role)
		return socket->role;
	if (network_listened(packet->transport, local))
		return NETWORK_ROLE_SERVER;
	if (network_listened(packet->transport, peer))
		return NETWORK_ROLE_CLIENT;
	if (network_ephemeral(peer) && !network_ephemeral(local))
		return NETWORK_ROLE_SERVER;
	if (network_ephemeral(local) && !network_ephemeral(peer))
		return NETWORK_ROLE_CLIENT;
	return NETWORK_ROLE_UNKNOWN;
}

/* The ports that the settings keep. Of two that no kernel chooses both stay (53 to 53, 500 to 500), of two that it does none. */
static __always_inline void network_fold_ports(const struct network_packet *packet,
					       const struct network_socket *socket,
					       struct network_conversation_key *key)
{
	bool sent = packet->direction == NETWORK_TRANSMIT;
	u16 local = sent ? packet->source_port : packet->destination_port;
	u16 peer = sent ? packet->destination_port : packet->source_port;
	u32 role = NETWORK_ROLE_UNKNOWN;

	if (network_by_port == NETWORK_PORTS_SERVER) {
		role = network_role_of(packet, socket, local, peer);
		if (!role && network_ephemeral(local))
			return;
	}
	if (role != NETWORK_ROLE_CLIENT)
		key->local_port = local;
	if (role != NETWORK_ROLE_SERVER)
		key->peer_port = peer;
}

static __always_inline bool network_add_conversation(const struct network_packet *packet,
						     const struct network_socket *socket,
						     const struct network_packets_key *row,
						     u64 weight)
{
	struct network_conversation_key key = {};
	bool sent = packet->direction == NETWORK_TRANSMIT;

	key.packets = *row;
	if (network_by_address) {
		__builtin_memcpy(key.local, sent ? packet->source : packet->destination, 16);
		__builtin_memcpy(key.peer, sent ? packet->destination : packet->source, 16);
	}
	if (network_by_port)
		network_fold_ports(packet, socket, &key);
	if (network_add(NETWORK_ROW(network_conversation, &key, struct network_sums), packet,
			weight))
		return true;
	OBI_LOSE(network_lost, NETWORK_LOST_CONVERSATION);
	return false;
}

/* For the view; what has no room is not shown. */
static __always_inline void network_show(const struct network_packet *packet,
					 const struct network_socket *socket, u64 weight)
{
	struct network_process *process;

	if (!socket || !OBI_LIVE_GET(u32, network_shown))
		return;
	process = NETWORK_ROW(network_processes, &socket->owner, struct network_process);
	if (process)
		network_add(packet->direction == NETWORK_TRANSMIT ? &process->sent
								  : &process->received,
			    packet, weight);
}

/* One packet that stands for `weight`. */
static __always_inline void network_count(const struct network_packet *packet,
					  const struct network_socket *socket, u64 weight,
					  struct obi_account *account)
{
	struct network_packets_key key = {};

	if (socket)
		obi_owner_key(&key.owner, &socket->owner);
	key.family = packet->family;
	key.transport = packet->transport;
	key.direction = packet->direction;
	key.malformed = packet->malformed;
#ifndef OBI_BCC /* there the network namespace is not known, which a number needs to become a name */
	if (network_by_interface) {
		key.ifindex = packet->ifindex;
		key.netns = socket ? socket->netns : 0;
	}
#endif
	network_show(packet, socket, weight);
	if (((network_by_address || network_by_port) &&
	     network_add_conversation(packet, socket, &key, weight)) ||
	    network_add(NETWORK_ROW(network_packets, &key, struct network_sums), packet, weight)) {
		OBI_OUTCOME(account, exported);
		return;
	}
	OBI_OUTCOME(account, lost);
	OBI_LOSE(network_lost, NETWORK_LOST_ROW);
}

#endif /* OBI_NETWORK_COUNT_H */
