/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Retransmits, resets and round-trip times: CO-RE only. */
#ifndef OBI_TCP_SIGNALS_H
#define OBI_TCP_SIGNALS_H

/* One round-trip time in so many is counted, with that weight. */
OBI_LIVE(u32, tcp_rtt_every);

/* The owner of a socket that is followed; a listener's stands for its half-open connections. */
static __always_inline struct tcp_socket *tcp_socket_of(struct sock *sk)
{
	u64 id = (u64)sk;

	return OBI_LOOKUP(tcp_sockets, &id);
}

static __always_inline void tcp_count_retransmit(struct sock *sk, u32 type, u64 segments)
{
	struct tcp_socket *socket = tcp_socket_of(sk);
	struct tcp_retransmit_key key = {};

	if (socket)
		obi_owner_key(&key.owner, &socket->owner);
	key.type = type;
	TCP_ADD(tcp_retransmits, &key, segments);
}

/* In recovery it was duplicate ACKs, after a loss a timeout; a tail loss probe is the pending timer while it runs. */
static __always_inline u32 tcp_retransmit_type(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	u32 ca_state;

	if (BPF_CORE_READ(sk, __sk_common.skc_state) == OBI_TCP_SYN_SENT)
		return TCP_SYN;
	ca_state = BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state);
	if (ca_state == OBI_TCP_CA_LOSS)
		return TCP_TIMEOUT;
	if (ca_state != OBI_TCP_CA_RECOVERY &&
	    BPF_CORE_READ(icsk, icsk_pending) == OBI_ICSK_TIME_LOSS_PROBE)
		return TCP_TAIL_LOSS_PROBE;
	return TCP_FAST;
}

/* One skb may hold several segments; the kernel's own counter (RetransSegs) adds them all. */
static __always_inline void tcp_retransmitted(struct sock *sk, struct sk_buff *skb)
{
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)((void *)skb + bpf_core_field_offset(skb->cb));
	u32 segments = BPF_CORE_READ(cb, tcp_gso_segs);

	tcp_count_retransmit(sk, tcp_retransmit_type(sk), segments ? segments : 1);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tcp_retransmit_btf, struct sock *sk, struct sk_buff *skb)
{
	tcp_retransmitted(sk, skb);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(tcp_synack_btf, struct sock *sk)
{
	tcp_count_retransmit(sk, TCP_SYN_ACK, 1);
	return 0;
}

struct tcp_skb_args {
	u64 _common;
	struct sk_buff *skbaddr;
	struct sock *skaddr;
	int state;
	u32 reason; /* of tcp_send_reset, since v6.10; addresses before */
};

struct tcp_sock_args {
	u64 _common;
	struct sock *skaddr;
};

OBI_TRACEPOINT(tcp, tcp_retransmit_skb, tcp_retransmit_tp, struct tcp_skb_args)
{
	tcp_retransmitted(ctx->skaddr, ctx->skbaddr);
	return 0;
}

OBI_TRACEPOINT(tcp, tcp_retransmit_synack, tcp_synack_tp, struct tcp_sock_args)
{
	tcp_count_retransmit(ctx->skaddr, TCP_SYN_ACK, 1);
	return 0;
}

static __always_inline void tcp_count_reset(const struct obi_owner *owner, u32 direction, u32 cause)
{
	struct tcp_reset_key key = {};

	if (owner)
		obi_owner_key(&key.owner, owner);
	key.direction = direction;
	key.cause = cause;
	TCP_ADD(tcp_resets, &key, 1);
}

static __always_inline void tcp_reset_of(struct sock *sk, const struct tcp_socket *socket,
					 u32 direction, u32 cause)
{
	struct tcp_source source = { .sk = sk };
	u64 start_ns = socket->established_ns ? socket->established_ns : socket->opened_ns;

	tcp_count_reset(&socket->owner, direction, cause);
	tcp_tell(&source, socket, TCP_EVENT_RESET, start_ns, cause, direction);
}

/* close() and disconnect() leave the last state first and send the reset after it, in their process: the current task's. */
static __always_inline void tcp_reset_at_close(struct sock *sk, u32 cause)
{
	struct tcp_source source = { .sk = sk };
	struct tcp_socket socket = {};

	obi_owner_now(&socket.owner);
	tcp_read_endpoints(&source, &socket);
	socket.local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	socket.opened_ns = bpf_ktime_get_ns();
	tcp_reset_of(sk, &socket, TCP_TRANSMIT, cause);
}

/* Without an skb it is not an answer to a segment. */
static __always_inline void tcp_reset_sent(struct sock *sk, struct sk_buff *skb, u32 cause)
{
	struct tcp_socket *socket = tcp_socket_of(sk);

	/* No socket has the address 0, but the verifier asks. */
	if (sk && socket)
		tcp_reset_of(sk, socket, TCP_TRANSMIT, cause);
	else if (sk && !skb && BPF_CORE_READ(sk, __sk_common.skc_state) == OBI_TCP_CLOSE)
		tcp_reset_at_close(sk, cause);
	else
		tcp_count_reset(0, TCP_TRANSMIT, cause);
}

#define TCP_IS(reason, name) ((reason) == bpf_core_enum_value(enum sk_rst_reason, name))

/* The kernel's reason; its numbers differ from release to release, its names do not. */
static __always_inline u32 tcp_reset_cause(u32 reason)
{
	if (TCP_IS(reason, SK_RST_REASON_NO_SOCKET))
		return TCP_RESET_NO_SOCKET;
	if (TCP_IS(reason, SK_RST_REASON_TCP_ABORT_ON_CLOSE))
		return TCP_RESET_ABORT_ON_CLOSE;
	if (TCP_IS(reason, SK_RST_REASON_TCP_ABORT_ON_LINGER))
		return TCP_RESET_ABORT_ON_LINGER;
	if (TCP_IS(reason, SK_RST_REASON_TCP_ABORT_ON_DATA))
		return TCP_RESET_ABORT_ON_DATA;
	if (TCP_IS(reason, SK_RST_REASON_TCP_ABORT_ON_MEMORY))
		return TCP_RESET_ABORT_ON_MEMORY;
	if (TCP_IS(reason, SK_RST_REASON_TCP_DISCONNECT_WITH_DATA))
		return TCP_RESET_DISCONNECT_WITH_DATA;
	if (TCP_IS(reason, SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT))
		return TCP_RESET_KEEPALIVE_TIMEOUT;
	if (TCP_IS(reason, SK_RST_REASON_TCP_INVALID_ACK_SEQUENCE) ||
	    TCP_IS(reason, SK_RST_REASON_TCP_RFC7323_PAWS) ||
	    TCP_IS(reason, SK_RST_REASON_TCP_TOO_OLD_ACK) ||
	    TCP_IS(reason, SK_RST_REASON_TCP_ACK_UNSENT_DATA) ||
	    TCP_IS(reason, SK_RST_REASON_TCP_FLAGS) || TCP_IS(reason, SK_RST_REASON_TCP_OLD_ACK) ||
	    TCP_IS(reason, SK_RST_REASON_INVALID_SYN))
		return TCP_RESET_INVALID_SEGMENT;
	return TCP_RESET_OTHER;
}

/* Before v6.10 the kernel gives no reason: without a socket there was none, anything else is not known. */
static __always_inline u32 tcp_reset_cause_without_reason(struct sock *sk)
{
	return sk ? TCP_RESET_OTHER : TCP_RESET_NO_SOCKET;
}

SEC("tp_btf/tcp_send_reset")
int tcp_reset_out_btf(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	u32 cause;

	/* The third argument came with the enum: without it the verifier never sees this branch. */
	if (bpf_core_type_exists(enum sk_rst_reason))
		cause = tcp_reset_cause(ctx[2]);
	else
		cause = tcp_reset_cause_without_reason(sk);
	tcp_reset_sent(sk, (struct sk_buff *)ctx[1], cause);
	return 0;
}

OBI_TRACEPOINT(tcp, tcp_send_reset, tcp_reset_out_tp, struct tcp_skb_args)
{
	u32 cause = bpf_core_type_exists(enum sk_rst_reason)
			    ? tcp_reset_cause(ctx->reason)
			    : tcp_reset_cause_without_reason(ctx->skaddr);

	tcp_reset_sent(ctx->skaddr, ctx->skbaddr, cause);
	return 0;
}

static __always_inline void tcp_reset_received(struct sock *sk)
{
	u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	u32 cause = state == OBI_TCP_SYN_SENT ? TCP_RESET_CONNECT_REFUSED : TCP_RESET_BY_PEER;
	struct tcp_socket *socket = tcp_socket_of(sk);

	if (socket)
		tcp_reset_of(sk, socket, TCP_RECEIVE, cause);
	else
		tcp_count_reset(0, TCP_RECEIVE, cause);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_reset_in_btf, struct sock *sk)
{
	tcp_reset_received(sk);
	return 0;
}

OBI_TRACEPOINT(tcp, tcp_receive_reset, tcp_reset_in_tp, struct tcp_sock_args)
{
	tcp_reset_received(ctx->skaddr);
	return 0;
}

/* Asks for round-trip times when a connection is established, and counts them as they come. */
SEC("sockops")
int tcp_rtt_ops(struct bpf_sock_ops *ctx)
{
	struct tcp_socket *socket;
	u32 weight;

	if (ctx->op == OBI_SOCK_OPS_ACTIVE_ESTABLISHED ||
	    ctx->op == OBI_SOCK_OPS_PASSIVE_ESTABLISHED) {
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | OBI_SOCK_OPS_RTT_FLAG);
		return 1;
	}
	if (ctx->op != OBI_SOCK_OPS_RTT)
		return 1;
	weight = obi_sample(OBI_LIVE_GET(u32, tcp_rtt_every));
	if (!weight) {
		OBI_OUTCOME(OBI_SEEN(tcp_account), sampled_out);
		return 1;
	}
	socket = tcp_socket_of((struct sock *)ctx->sk);
	if (socket && socket->role != TCP_ROLE_LISTENER)
		tcp_count_rtt(socket, (u64)(ctx->srtt_us >> 3) * 1000, weight);
	return 1;
}

#endif /* OBI_TCP_SIGNALS_H */
