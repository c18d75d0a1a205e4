/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * DNS over UDP port 53, as its client sees it: a question that leaves, and the answer that comes. What a server on this node receives
 * and sends is not looked at, so over loopback nothing counts twice.
 *
 * A question that is asked again keeps its first start. One without an answer counts as a timeout once: when the time is over and
 * network_dns_sweep meets it, or when something with its number comes later.
 */
#ifndef OBI_NETWORK_DNS_H
#define OBI_NETWORK_DNS_H

#include "network_dns_maps.h"
#include "network_dns_parse.h"
#include "network_track.h"

#define NETWORK_DNS_PORT 53
/* Opcodes of messages with a question section: QUERY, NOTIFY, UPDATE. */
#define NETWORK_DNS_OPCODES (1 << 0 | 1 << 4 | 1 << 5)

/* One more thing that is in a row, or had no room there. */
static __always_inline void network_dns_told(bool counted, u32 loss)
{
	struct obi_account *account = OBI_SEEN(network_account);

	if (counted) {
		OBI_OUTCOME(account, exported);
		return;
	}
	OBI_OUTCOME(account, lost);
	OBI_LOSE(network_lost, loss);
}

static __always_inline bool network_dns_add(const struct network_dns_key *row, u64 duration_ns)
{
	struct network_durations *durations = OBI_LOOKUP(network_dns_duration, row);
	u32 slot = obi_slot(duration_ns, NETWORK_DNS_FIRST, NETWORK_BUCKETS);
	u32 first = 0;

	if (!durations) {
		struct network_durations *zero = OBI_LOOKUP(network_zero, &first);

		if (zero)
			OBI_INSERT(network_dns_duration, row, zero);
		durations = OBI_LOOKUP(network_dns_duration, row);
	}
	if (!durations || slot >= NETWORK_BUCKETS)
		return false;
	__sync_fetch_and_add(&durations->counts[slot], 1);
	__sync_fetch_and_add(&durations->sum_ns, duration_ns);
	return true;
}

/* Without room for its name it still counts. */
static __always_inline bool network_dns_add_nameless(struct network_dns_key *row, u64 duration_ns)
{
	if (!network_dns_names)
		return false;
	__builtin_memset(row->name, 0, sizeof(row->name));
	row->name[0] = NETWORK_DNS_NO_NAME;
	if (!network_dns_add(row, duration_ns))
		return false;
	OBI_LOSE(network_lost, NETWORK_LOST_NAME);
	return true;
}

/* One that is still being written waits from now. */
static __always_inline bool network_dns_over(const struct network_dns_pending *pending, u64 now_ns)
{
	u64 start_ns = pending->start_ns;

	return start_ns && now_ns - start_ns > OBI_LIVE_GET(u64, network_dns_timeout_ns);
}

/*
 * Count a question that waits no longer, with the answer's code. Whoever takes it out of the table counts it; its row is then nobody
 * else's until this CPU comes to ask again.
 */
static __always_inline void network_dns_end(const struct network_dns_pending_key *key,
					    struct network_dns_pending *pending, u64 now_ns,
					    u8 code)
{
	u64 duration_ns = now_ns - pending->start_ns;

	if (network_dns_over(pending, now_ns)) {
		duration_ns = OBI_LIVE_GET(u64, network_dns_timeout_ns);
		code = NETWORK_DNS_TIMEOUT;
	}
	if (OBI_DELETE(network_dns_inflight, key))
		return;
	pending->row.error = code;
	network_dns_told(network_dns_add(&pending->row, duration_ns) ||
				 network_dns_add_nameless(&pending->row, duration_ns),
			 NETWORK_LOST_ANSWER);
}

static __always_inline void network_dns_odd(const struct network_socket *socket, u32 anomaly)
{
	struct network_dns_anomaly_key key = {};

	if (socket)
		obi_owner_key(&key.owner, &socket->owner);
	key.anomaly = anomaly;
	network_dns_told(OBI_ADD(network_dns_anomalies, &key, 1), NETWORK_LOST_ANOMALY);
}

static __always_inline u64 network_dns_conversation(struct __sk_buff *ctx,
						    const struct network_packet *packet)
{
	bool sent = packet->direction == NETWORK_TRANSMIT;
	const u64 *client = (const u64 *)(sent ? packet->source : packet->destination);
	const u64 *server = (const u64 *)(sent ? packet->destination : packet->source);

	if (!packet->at_interface)
		return bpf_get_socket_cookie(ctx);
	return obi_hash(
		client[0] ^
		obi_hash(client[1] ^
			 obi_hash(server[0] ^
				  obi_hash(server[1] ^ (sent ? packet->source_port
							     : packet->destination_port)))));
}

/* Whether the message is a question as the RFC has it. */
static __always_inline bool network_dns_sound(struct __sk_buff *ctx, u32 start,
					      const struct network_dns_header *header,
					      struct network_dns_question *question)
{
	if ((header->flags & NETWORK_DNS_ANSWER) || header->questions != bpf_htons(1))
		return false;
	if (!(1 << network_dns_opcode(header) & NETWORK_DNS_OPCODES))
		return false;
	return network_dns_read(ctx, start + sizeof(*header), question);
}

/* Whether the question waits already; one of its number whose time is over ends here. */
static __always_inline bool network_dns_waits(const struct network_dns_pending_key *key, u64 now_ns)
{
	struct network_dns_pending *found = OBI_LOOKUP(network_dns_inflight, key);

	if (!found)
		return false;
	if (!network_dns_over(found, now_ns))
		return true;
	network_dns_end(key, found, now_ns, 0);
	return false;
}

/* Written where it stays, for the stack has no room; the start comes last, as its sign that it is whole. */
static __always_inline void network_dns_remember(struct __sk_buff *ctx,
						 const struct network_dns_pending_key *key,
						 const struct network_dns_question *question,
						 const struct network_socket *socket, u64 now_ns)
{
	u32 first = 0;
	struct network_durations *zero = OBI_LOOKUP(network_zero, &first);
	struct network_dns_pending *pending;

	if (!zero || OBI_INSERT(network_dns_inflight, key, zero)) {
		network_dns_told(false, NETWORK_LOST_QUESTION);
		return;
	}
	pending = OBI_LOOKUP(network_dns_inflight, key);
	if (!pending)
		return;
	if (socket)
		obi_owner_key(&pending->row.owner, &socket->owner);
	pending->row.type = question->type;
	if (network_dns_names)
		network_dns_copy_name(ctx, question->first, question->end, pending->row.name);
	pending->start_ns = now_ns;
}

/* A question leaves. A function of its own, with a stack of its own. */
static __noinline int network_dns_ask(struct __sk_buff *ctx, const struct network_packet *packet,
				      const struct network_socket *socket)
{
	struct network_dns_header header = {};
	struct network_dns_pending_key key = {};
	struct network_dns_question question;
	u64 now_ns = bpf_ktime_get_ns();

	/* One that is cut off stays zero, and has no question. */
	bpf_skb_load_bytes(ctx, packet->payload, &header, sizeof(header));
	if ((header.flags & NETWORK_DNS_ANSWER) && packet->source_port == NETWORK_DNS_PORT)
		return 0; /* a server's answer to one who asked from that port */
	if (!network_dns_sound(ctx, packet->payload, &header, &question)) {
		network_dns_odd(socket, NETWORK_DNS_MALFORMED);
		return 0;
	}
	if (network_dns_opcode(&header))
		return 0;
	key.conversation = network_dns_conversation(ctx, packet);
	key.id = header.id;
	if (network_dns_waits(&key, now_ns))
		network_dns_odd(socket, NETWORK_DNS_RETRANSMITTED);
	else
		network_dns_remember(ctx, &key, &question, socket, now_ns);
	return 0;
}

/* An answer comes. */
static __noinline int network_dns_answer(struct __sk_buff *ctx, const struct network_packet *packet,
					 const struct network_socket *socket)
{
	struct network_dns_header header = {};
	struct network_dns_pending_key key = {};
	struct network_dns_pending *found;
	bool whole = !bpf_skb_load_bytes(ctx, packet->payload, &header, sizeof(header));

	if (!(header.flags & NETWORK_DNS_ANSWER)) {
		/* From port to port it may be a question to a server of ours. */
		if (!whole || packet->destination_port != NETWORK_DNS_PORT)
			network_dns_odd(socket, NETWORK_DNS_MALFORMED);
		return 0;
	}
	key.conversation = network_dns_conversation(ctx, packet);
	key.id = header.id;
	found = OBI_LOOKUP(network_dns_inflight, &key);
	if (found)
		network_dns_end(&key, found, bpf_ktime_get_ns(), header.code & 15);
	else
		network_dns_odd(socket, NETWORK_DNS_UNEXPECTED);
	return 0;
}

/* One packet, if it is DNS. */
static __always_inline void network_dns_packet(struct __sk_buff *ctx,
					       const struct network_packet *packet,
					       const struct network_socket *socket)
{
	if (!network_dns || packet->transport != NETWORK_UDP ||
	    packet->fragment == NETWORK_LATER_FRAGMENT || !packet->payload)
		return;
	if (packet->direction == NETWORK_TRANSMIT && packet->destination_port == NETWORK_DNS_PORT)
		network_dns_ask(ctx, packet, socket);
	else if (packet->direction == NETWORK_RECEIVE && packet->source_port == NETWORK_DNS_PORT)
		network_dns_answer(ctx, packet, socket);
}

/* The question that ran out of time. */
OBI_RECORD(network_dns_sweep, u64);

/* Walks network_dns_inflight: questions whose time is over. */
SEC("iter/bpf_map_elem")
int network_dns_sweep(struct bpf_iter__bpf_map_elem *ctx)
{
	struct network_dns_pending_key *walked = ctx->key;
	struct network_dns_pending_key key;
	struct network_dns_pending *found;
	u64 now_ns;

	if (!walked)
		return 0;
	key = *walked;
	found = OBI_LOOKUP(network_dns_inflight, &key);
	if (!found)
		return 0;
	now_ns = bpf_ktime_get_ns();
	if (network_dns_over(found, now_ns))
		network_dns_end(&key, found, now_ns, 0);
	return 0;
}

#endif /* OBI_NETWORK_DNS_H */
