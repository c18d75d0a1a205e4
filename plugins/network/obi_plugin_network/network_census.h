/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What user space runs at each collection, and once at the start: walks over sockets and over the table of connections. */
#ifndef OBI_NETWORK_CENSUS_H
#define OBI_NETWORK_CENSUS_H

#include "network_owner.h"
#include "network_track.h"

/* How long a connection may be quiet before it is over, ns. */
OBI_LIVE(u64, network_udp_new_ns);
OBI_LIVE(u64, network_udp_replied_ns);
OBI_LIVE(u64, network_tcp_opening_ns);
OBI_LIVE(u64, network_tcp_gone_ns);

/* Connections that network_sweep met, by state (enum network_state); only grows: a count is the difference of two readings. */
OBI_ARRAY(network_connections, u32, u64, NETWORK_STATES);

/* The socket that was taken in. */
OBI_RECORD(network_seed, u64);
OBI_RECORD(network_alive, u64);
OBI_RECORD(network_sweep, u64);

/* Walks every open file of every process: sockets that were there before the agent. */
SEC("iter/task_file")
int network_seed(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct network_socket *socket;
	struct socket *opened;
	struct sock *sk;
	u16 family;
	u64 id;

	if (!task || !file)
		return 0;
	opened = bpf_sock_from_file(file);
	if (!opened)
		return 0;
	sk = opened->sk;
	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	if (family != OBI_AF_INET && family != OBI_AF_INET6)
		return 0;
	if (bpf_sk_storage_get(&network_sockets, sk, 0, 0))
		return 0;
	socket = bpf_sk_storage_get(&network_sockets, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!socket) {
		OBI_LOSE(network_lost, NETWORK_LOST_SOCKET);
		return 0;
	}
	obi_owner_of(task, &socket->owner);
	socket->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (sk->sk_protocol == OBI_IPPROTO_TCP && sk->__sk_common.skc_state == OBI_TCP_LISTEN) {
		socket->role = NETWORK_ROLE_SERVER;
		socket->listens = 1;
	}
	id = (u64)sk;
	bpf_seq_write(ctx->meta->seq, &id, sizeof(id));
	return 0;
}

static __always_inline void network_tracked_key_of_sock(struct sock *sk, u32 netns,
							struct network_tracked_key *key)
{
	if (sk->__sk_common.skc_family == OBI_AF_INET) {
		network_map_v4(key->local, sk->__sk_common.skc_rcv_saddr);
		network_map_v4(key->peer, sk->__sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO(&key->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&key->peer, sk, __sk_common.skc_v6_daddr);
	}
	key->netns = netns;
	key->local_port = sk->__sk_common.skc_num;
	key->peer_port = bpf_ntohs(sk->__sk_common.skc_dport);
	key->transport = NETWORK_TCP;
}

/*
 * Walks the sockets that are known: remembers who listens where, and keeps the connections of open TCP sockets from being taken for
 * quiet or least lately looked at. One that was driven out while its socket lives comes back.
 */
SEC("iter/bpf_sk_storage_map")
int network_alive(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct network_socket *socket = ctx->value;
	struct network_tracked_key key = {};
	struct network_tracked *entry;
	struct sock *sk = ctx->sk;
	u8 state;

	if (!sk || !socket)
		return 0;
	if (sk->sk_protocol == OBI_IPPROTO_UDP && socket->role == NETWORK_ROLE_SERVER)
		network_listens(NETWORK_UDP, sk->__sk_common.skc_num);
	if (sk->sk_protocol != OBI_IPPROTO_TCP)
		return 0;
	state = sk->__sk_common.skc_state;
	if (state == OBI_TCP_LISTEN)
		network_listens(NETWORK_TCP, sk->__sk_common.skc_num);
	if (!network_tracking || state == OBI_TCP_LISTEN || state == OBI_TCP_CLOSE)
		return 0;
	network_tracked_key_of_sock(sk, socket->netns, &key);
	entry = OBI_LOOKUP(network_tracked, &key);
	if (entry)
		entry->touched = 1;
	else if (state == OBI_TCP_ESTABLISHED)
		network_tracked_begin(&key, NETWORK_ESTABLISHED, NETWORK_TRANSMIT);
	return 0;
}

static __always_inline u64 network_patience(u8 state)
{
	switch (state) {
	case NETWORK_UDP_NEW:
		return OBI_LIVE_GET(u64, network_udp_new_ns);
	case NETWORK_UDP_REPLIED:
		return OBI_LIVE_GET(u64, network_udp_replied_ns);
	case NETWORK_SYN_SENT:
	case NETWORK_SYN_RECEIVED:
		return OBI_LIVE_GET(u64, network_tcp_opening_ns);
	}
	return OBI_LIVE_GET(u64, network_tcp_gone_ns);
}

/* Walks network_tracked: ends what was quiet for too long, counts the rest by state. */
SEC("iter/bpf_map_elem")
int network_sweep(struct bpf_iter__bpf_map_elem *ctx)
{
	struct network_tracked_key *walked = ctx->key;
	struct network_tracked *entry = ctx->value;
	struct network_tracked_key key;
	u64 now_ns, *count;
	u32 state;

	if (!walked || !entry)
		return 0;
	key = *walked;
	now_ns = bpf_ktime_get_ns();
	state = entry->state;
	if (entry->touched) {
		entry->touched = 0;
		entry->quiet_ns = now_ns;
	} else if (now_ns - entry->quiet_ns > network_patience(state)) {
		network_tracked_end(&key);
		return 0;
	}
	count = OBI_LOOKUP(network_connections, &state);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

#endif /* OBI_NETWORK_CENSUS_H */
