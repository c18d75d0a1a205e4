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
};

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

	socket->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	socket->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	socket->peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	socket->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (socket->family == OBI_AF_INET6) {
		BPF_CORE_READ_INTO(&socket->local_address, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&socket->peer_address, sk, __sk_common.skc_v6_daddr);
		return;
	}
	__builtin_memset(socket->local_address, 0, 10);
	__builtin_memset(socket->local_address + 10, 0xff, 2);
	__builtin_memset(socket->peer_address, 0, 10);
	__builtin_memset(socket->peer_address + 10, 0xff, 2);
	bpf_core_read(socket->local_address + 12, 4, &sk->__sk_common.skc_rcv_saddr);
	bpf_core_read(socket->peer_address + 12, 4, &sk->__sk_common.skc_daddr);
}

/* How an attempt to connect ended: sk_err is set before the state changes. */
static __always_inline u32 tcp_read_outcome(const struct tcp_source *source)
{
	struct sock *sk = source->sk;

	switch (BPF_CORE_READ(sk, sk_err)) {
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

	*rx = BPF_CORE_READ(tp, bytes_received) -
	      ((BPF_CORE_READ(sk, __sk_common.skc_flags) >> 1) & 1);
	*tx = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
}

/* Smoothed round-trip time; just after a passive open it is the time from SYN-ACK to ACK. 0: never measured. */
static __always_inline u32 tcp_read_rtt_us(const struct tcp_source *source)
{
	struct tcp_sock *tp = (struct tcp_sock *)source->sk;

	return BPF_CORE_READ(tp, srtt_us) >> 3;
}

#endif /* OBI_TCP_READ_SOCK_H */
