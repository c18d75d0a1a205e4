/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What a change of state tells, read from struct sock: CO-RE only. tcp_read_args.h has the same functions without it. */
#ifndef OBI_TCP_READ_SOCK_H
#define OBI_TCP_READ_SOCK_H

struct tcp_state_args {
	u64 _common;
	struct sock *skaddr;
	int oldstate;
	int newstate;
	u16 sport;
	u16 dport;
	u16 family;
	u16 protocol;
};

struct tcp_source {
	struct sock *sk;
	/* A constant where it is used: the verifier knows `sk` (tp_btf), so that a load does instead of a helper call. */
	bool known;
};

/* A field of struct sock. */
#define TCP_READ(source, field)                                                                    \
	({                                                                                         \
		struct sock *_sk = (source)->sk;                                                   \
		(source)->known ? _sk->field : BPF_CORE_READ(_sk, field);                          \
	})

static __always_inline void tcp_source_of_args(struct tcp_state_args *args,
					       struct tcp_source *source)
{
	source->sk = args->skaddr;
}

static __always_inline u64 tcp_socket_id(const struct tcp_source *source)
{
	return (u64)source->sk;
}

/* Addresses as 16 bytes (v4-mapped), ports in host order. */
static __always_inline void tcp_read_endpoints(const struct tcp_source *source,
					       struct tcp_socket *socket)
{
	struct sock *sk = source->sk;

	socket->family = TCP_READ(source, __sk_common.skc_family);
	socket->local_port = TCP_READ(source, __sk_common.skc_num);
	socket->peer_port = bpf_ntohs(TCP_READ(source, __sk_common.skc_dport));
	socket->netns = source->known ? sk->__sk_common.skc_net.net->ns.inum
				      : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (socket->family == OBI_AF_INET6) {
		*(struct in6_addr *)socket->local_address =
			TCP_READ(source, __sk_common.skc_v6_rcv_saddr);
		*(struct in6_addr *)socket->peer_address =
			TCP_READ(source, __sk_common.skc_v6_daddr);
		/* An IPv6 socket that talks IPv4. */
		if (!*(u64 *)socket->peer_address &&
		    *(u32 *)(socket->peer_address + 8) == bpf_htonl(0xffff))
			socket->family = OBI_AF_INET;
		return;
	}
	__builtin_memset(socket->local_address, 0, 10);
	__builtin_memset(socket->local_address + 10, 0xff, 2);
	__builtin_memset(socket->peer_address, 0, 10);
	__builtin_memset(socket->peer_address + 10, 0xff, 2);
	*(__be32 *)(socket->local_address + 12) = TCP_READ(source, __sk_common.skc_rcv_saddr);
	*(__be32 *)(socket->peer_address + 12) = TCP_READ(source, __sk_common.skc_daddr);
}

/* How an attempt to connect ended: sk_err is set before the state changes. */
static __always_inline u32 tcp_read_outcome(const struct tcp_source *source)
{
	struct sock *sk = source->sk;

	switch (TCP_READ(source, sk_err)) {
	case 0:
		/* Without a source port the SYN was never sent; skc_num is given back already. */
		return BPF_CORE_READ((struct inet_sock *)sk, inet_sport) ? TCP_CANCELED : TCP_OTHER;
	case 101:
		return TCP_NET_UNREACHABLE;
	case 104:
		return TCP_RESET;
	case 110:
		return TCP_TIMED_OUT;
	case 111:
		return TCP_REFUSED;
	case 113:
		return TCP_HOST_UNREACHABLE;
	default:
		return TCP_OTHER;
	}
}

/*
 * Payload bytes. The kernel's bytes_received counts a received FIN as one; SOCK_DONE (bit 1 of sk_flags) says that there was one.
 * bytes_sent counts neither SYN nor FIN, but counts retransmissions.
 */
static __always_inline void tcp_read_bytes(const struct tcp_source *source, u64 *rx, u64 *tx)
{
	struct sock *sk = source->sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (source->known) {
		tp = bpf_skc_to_tcp_sock(sk);
		*rx = *tx = 0;
		if (!tp)
			return;
		*rx = tp->bytes_received - ((sk->__sk_common.skc_flags >> 1) & 1);
		*tx = tp->bytes_sent - tp->bytes_retrans;
		return;
	}
	*rx = BPF_CORE_READ(tp, bytes_received) -
	      ((BPF_CORE_READ(sk, __sk_common.skc_flags) >> 1) & 1);
	*tx = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
}

/*
 * The same from outside, where a segment may be in the middle of being received: a FIN is counted before it is noted. So the count is
 * read first, then whether anybody holds the socket, then the note; while it is held, one byte waits for the next look.
 */
static __always_inline void tcp_read_bytes_outside(const struct tcp_source *source, u64 *rx,
						   u64 *tx)
{
	struct sock *sk = source->sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 received = BPF_CORE_READ(tp, bytes_received);
	bool held = BPF_CORE_READ(sk, sk_lock.owned);

	if (bpf_core_field_exists(sk->sk_lock.slock.rlock.raw_lock.val.counter))
		held |= BPF_CORE_READ(sk, sk_lock.slock.rlock.raw_lock.val.counter) != 0;
	if (received && (held || (BPF_CORE_READ(sk, __sk_common.skc_flags) >> 1) & 1))
		received--;
	*rx = received;
	*tx = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
}

/* Smoothed round-trip time; just after a passive open it is the time from SYN-ACK to ACK. 0: never measured. */
static __always_inline u32 tcp_read_rtt_us(const struct tcp_source *source)
{
	struct tcp_sock *tp = (struct tcp_sock *)source->sk;

	if (source->known) {
		tp = bpf_skc_to_tcp_sock(source->sk);
		return tp ? tp->srtt_us >> 3 : 0;
	}
	return BPF_CORE_READ(tp, srtt_us) >> 3;
}

static __always_inline u32 tcp_read_retransmits(const struct tcp_source *source)
{
	struct tcp_sock *tp = (struct tcp_sock *)source->sk;

	return BPF_CORE_READ(tp, total_retrans);
}

/* What a listener dropped: SYNs and last ACKs that its queues had no room for, and the few segments it could not use. */
static __always_inline u32 tcp_read_drops(const struct tcp_source *source)
{
	struct sock *sk = source->sk;

	return BPF_CORE_READ(sk, sk_drops.counter);
}

#endif /* OBI_TCP_READ_SOCK_H */
