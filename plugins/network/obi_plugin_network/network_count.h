/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Adding a packet to the row of its owner and conversation. */
#ifndef OBI_NETWORK_COUNT_H
#define OBI_NETWORK_COUNT_H

static __always_inline bool network_ephemeral(u16 port)
{
	return port >= network_ephemeral_min && port <= network_ephemeral_max;
}

/* Which end is the server: the socket knows, or else the one whose port no kernel chooses. */
static __always_inline u32 network_role_of(const struct network_socket *socket, u16 local, u16 peer)
{
	if (socket && socket->role)
		return socket->role;
	if (network_ephemeral(peer) && !network_ephemeral(local))
		return NETWORK_ROLE_SERVER;
	if (network_ephemeral(local) && !network_ephemeral(peer))
		return NETWORK_ROLE_CLIENT;
	return NETWORK_ROLE_UNKNOWN;
}

/* The five-tuple as the settings fold it. */
static __always_inline void network_fold(const struct network_packet *packet,
					 const struct network_socket *socket,
					 struct network_packets_key *key)
{
	bool sent = packet->direction == NETWORK_TRANSMIT;
	u16 local = sent ? packet->source_port : packet->destination_port;
	u16 peer = sent ? packet->destination_port : packet->source_port;

	if (network_by_address) {
		__builtin_memcpy(key->local, sent ? packet->source : packet->destination, 16);
		__builtin_memcpy(key->peer, sent ? packet->destination : packet->source, 16);
	}
	if (network_by_port == NETWORK_PORTS_ALL) {
		key->local_port = local;
		key->peer_port = peer;
	} else if (network_by_port == NETWORK_PORTS_SERVER) {
		u32 role = network_role_of(socket, local, peer);

		if (role == NETWORK_ROLE_SERVER || !network_ephemeral(local))
			key->local_port = role == NETWORK_ROLE_CLIENT ? 0 : local;
		if (role == NETWORK_ROLE_CLIENT || !network_ephemeral(peer))
			key->peer_port = role == NETWORK_ROLE_SERVER ? 0 : peer;
	}
}

static __always_inline bool network_add(const struct network_packets_key *key, u64 packets,
					u64 bytes)
{
	struct network_sums *sums = OBI_LOOKUP(network_packets, key);

	if (!sums) {
		struct network_sums zero = {};

		OBI_INSERT(network_packets, key, &zero);
		sums = OBI_LOOKUP(network_packets, key);
		if (!sums)
			return false;
	}
	__sync_fetch_and_add(&sums->packets, packets);
	__sync_fetch_and_add(&sums->bytes, bytes);
	return true;
}

/* Without room for its conversation the packet still counts for its owner. */
static __always_inline bool network_add_folded(struct network_packets_key *key, u64 packets,
					       u64 bytes)
{
	if (!network_by_address && !network_by_port)
		return false;
	__builtin_memset(key->local, 0, sizeof(key->local));
	__builtin_memset(key->peer, 0, sizeof(key->peer));
	key->local_port = 0;
	key->peer_port = 0;
	if (!network_add(key, packets, bytes))
		return false;
	OBI_LOSE(network_lost, NETWORK_LOST_CONVERSATION);
	return true;
}

/* One packet that stands for `weight`. */
static __always_inline void network_count(const struct network_packet *packet,
					  const struct network_socket *socket, u64 weight,
					  struct obi_account *account)
{
	struct network_packets_key key = {};
	u64 packets = packet->segments * weight;
	u64 bytes = packet->wire_bytes * weight;

	if (socket)
		obi_owner_key(&key.owner, &socket->owner);
	key.family = packet->family;
	key.transport = packet->transport;
	key.direction = packet->direction;
	key.malformed = packet->malformed;
	if (network_by_interface) {
		key.ifindex = packet->ifindex;
		key.netns = socket ? socket->netns : 0;
	}
	if (network_by_address || network_by_port)
		network_fold(packet, socket, &key);
	if (network_add(&key, packets, bytes) || network_add_folded(&key, packets, bytes)) {
		OBI_OUTCOME(account, exported);
		return;
	}
	OBI_OUTCOME(account, lost);
	OBI_LOSE(network_lost, NETWORK_LOST_ROW);
}

#endif /* OBI_NETWORK_COUNT_H */
