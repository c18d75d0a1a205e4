/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Packets that the kernel threw away, by its own reason: CO-RE only.
 *
 * skb:kfree_skb is also called for what nobody would call a drop. Left out, and counted as filtered, are: what is no IP packet
 * (Unix sockets, netlink, ARP); what was consumed; what was never for this host; the fragments of a datagram that goes, which are
 * freed one by one behind it; the FIN in a queue that goes with its socket; and what kernels free without a reason although it
 * served (network_drop_served). Whatever else has a reason is a drop.
 */
#ifndef OBI_NETWORK_DROPS_H
#define OBI_NETWORK_DROPS_H

struct network_drop_key {
	struct obi_owner owner; /* zero: no socket has a part in it, or its owner is not known */
	u32 transport; /* enum network_transport */
	u32 reason; /* enum skb_drop_reason of the running kernel; 0 before v5.17 */
};

_Static_assert(sizeof(struct network_drop_key) == 48, "padding would be part of the key");

OBI_HASH(network_drops, struct network_drop_key, u64, 1024);

/* The fragment that is freed next if it belongs to the datagram that was dropped last, on this CPU. */
OBI_PERCPU_ARRAY(network_drop_next, u32, u64, 1);

#define NETWORK_V4_BYTES 20
#define NETWORK_V6_BYTES 40

/* One packet that goes. */
struct network_drop {
	struct sk_buff *skb;
	struct sock *sk; /* whose it is; may be NULL, or less than a full socket */
	u32 reason;
	u8 protocol; /* IPPROTO_*; NONE where the header is not whole */
	bool multicast; /* IP says so of its destination */
};

/* The kernel's numbers differ from release to release, its names do not. */
#define NETWORK_REASON_IS(reason, name)                                                            \
	(bpf_core_enum_value_exists(enum skb_drop_reason, name) &&                                 \
	 (reason) == bpf_core_enum_value(enum skb_drop_reason, name))

static __always_inline bool network_drop_unspecified(u32 reason)
{
	return !reason || NETWORK_REASON_IS(reason, SKB_DROP_REASON_NOT_SPECIFIED);
}

/* What stands behind the extension headers of IPv6, as far as they lie in the linear part. */
static __always_inline u8 network_drop_v6_protocol(const unsigned char *at, u32 left, u8 next)
{
	u8 header[2];
	u32 length;

	for (int i = 0; i < NETWORK_EXTENSIONS; i++) {
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60 &&
		    next != 135)
			break;
		if (left < sizeof(header) || bpf_probe_read_kernel(header, sizeof(header), at))
			break;
		/* A fragment header has eight bytes; authentication counts four, the others eight. */
		length = next == 44 ? 8 : next == 51 ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
		next = header[0];
		at += length;
		left = left > length ? left - length : 0;
	}
	return next;
}

/* Read what the IP header says; false: it is not whole. */
static __always_inline bool network_drop_parse(struct network_drop *drop, u16 protocol)
{
	struct sk_buff *skb = drop->skb;
	u32 offset = BPF_CORE_READ(skb, network_header);
	u32 tail = BPF_CORE_READ(skb, tail);
	const unsigned char *at = BPF_CORE_READ(skb, head) + offset;
	u32 left = tail > offset ? tail - offset : 0;
	u32 size = protocol == OBI_ETH_P_IP ? NETWORK_V4_BYTES : NETWORK_V6_BYTES;
	u8 ip[NETWORK_V6_BYTES] = {};

	if (left < size || bpf_probe_read_kernel(ip, NETWORK_V4_BYTES, at))
		return false;
	if (protocol == OBI_ETH_P_IP) {
		drop->protocol = ip[9];
		drop->multicast = (ip[16] & 0xf0) == 0xe0;
		return true;
	}
	if (bpf_probe_read_kernel(ip, NETWORK_V6_BYTES, at))
		return false;
	drop->multicast = ip[24] == 0xff;
	drop->protocol =
		network_drop_v6_protocol(at + NETWORK_V6_BYTES, left - NETWORK_V6_BYTES, ip[6]);
	return true;
}

/* TIME_WAIT and half-open connections are other structures, of which only the common beginning may be read. */
static __always_inline bool network_drop_full(struct sock *sk)
{
	u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	return state != OBI_TCP_TIME_WAIT && state != OBI_TCP_NEW_SYN_RECV;
}

/* Whether it is an IP packet. One that has no header yet is known by its socket; without a reason it was never one. */
static __always_inline bool network_drop_is_ip(struct network_drop *drop)
{
	struct sk_buff *skb = drop->skb;
	struct sock *sk = drop->sk;
	u16 protocol = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	u16 family;

	if (protocol == OBI_ETH_P_IP || protocol == OBI_ETH_P_IPV6) {
		network_drop_parse(drop, protocol);
		return true;
	}
	if (protocol || !sk || network_drop_unspecified(drop->reason))
		return false;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != OBI_AF_INET && family != OBI_AF_INET6) || !network_drop_full(sk))
		return false;
	drop->protocol = BPF_CORE_READ(sk, sk_protocol);
	return true;
}

/* A datagram's fragments hang behind it and are freed after it, each with the same reason. */
static __always_inline bool network_drop_is_fragment(struct sk_buff *skb)
{
	struct skb_shared_info *shared = (void *)BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end);
	u32 first = 0;
	u64 *next = OBI_LOOKUP(network_drop_next, &first);

	if (!next)
		return false;
	if (*next && *next == (u64)skb) {
		*next = (u64)BPF_CORE_READ(skb, next);
		return true;
	}
	*next = (u64)BPF_CORE_READ(shared, frag_list);
	return false;
}

/* A received FIN without data stays in the socket's queue until the socket goes. */
static __always_inline bool network_drop_is_read(const struct network_drop *drop)
{
	struct sk_buff *skb = drop->skb;

	return drop->protocol == OBI_IPPROTO_TCP && !BPF_CORE_READ(skb, len) &&
	       (network_drop_unspecified(drop->reason) ||
		NETWORK_REASON_IS(drop->reason, SKB_DROP_REASON_QUEUE_PURGE));
}

/*
 * What kernels free without a reason although it served: multicast that nobody here has joined; ICMPv6 that was read (until v6.3);
 * what has neither device nor socket any more, fragments of a datagram that was received or sent (a datagram's own free frees them
 * so, until v6.3); and received segments, such as the last of a connection, where TCP gives its reasons whenever it drops (v5.19+).
 */
static __always_inline bool network_drop_served(const struct network_drop *drop)
{
	struct sk_buff *skb = drop->skb;

	if (!network_drop_unspecified(drop->reason))
		return false;
	if (drop->multicast || drop->protocol == OBI_IPPROTO_ICMPV6)
		return true;
	if (drop->sk)
		return false;
	return !BPF_CORE_READ(skb, dev) ||
	       (drop->protocol == OBI_IPPROTO_TCP &&
		bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_TCP_FLAGS));
}

/* Whether something was lost that somebody wanted. */
static __always_inline bool network_drop_counts(struct network_drop *drop)
{
	if (NETWORK_REASON_IS(drop->reason, SKB_CONSUMED) ||
	    NETWORK_REASON_IS(drop->reason, SKB_DROP_REASON_OTHERHOST))
		return false;
	if (network_drop_is_fragment(drop->skb) || !network_drop_is_ip(drop))
		return false;
	return !network_drop_is_read(drop) && !network_drop_served(drop);
}

/* Segments that the packet stands for: the same sum, whether a card cuts it or the kernel. */
static __always_inline u32 network_drop_segments(struct sk_buff *skb)
{
	struct skb_shared_info *shared = (void *)BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end);
	u16 segments = BPF_CORE_READ(shared, gso_segs);

	return segments ? segments : 1;
}

/* Whether the packet is a drop; what is none is counted as filtered, a drop has its outcome still to come. */
static __always_inline bool network_drop_seen(struct network_drop *drop,
					      struct obi_account *account)
{
	if (network_drop_counts(drop))
		return true;
	OBI_OUTCOME(account, filtered);
	return false;
}

static __always_inline void network_drop_add(const struct network_drop *drop,
					     const struct network_socket *socket,
					     struct obi_account *account)
{
	struct network_drop_key key = {};

	if (socket)
		obi_owner_key(&key.owner, &socket->owner);
	key.transport = network_transport_of(drop->protocol);
	key.reason = drop->reason;
	if (OBI_ADD(network_drops, &key, network_drop_segments(drop->skb))) {
		OBI_OUTCOME(account, exported);
	} else {
		OBI_OUTCOME(account, lost);
		OBI_LOSE(network_lost, NETWORK_LOST_DROP);
	}
}

/* Arguments: skb, location; reason since v5.17; the receiving socket since v6.11. What is not there the verifier never sees. */
SEC("tp_btf/kfree_skb")
int network_drop_btf(u64 *ctx)
{
	struct obi_account *account = OBI_SEEN(network_account);
	struct network_drop drop = { .skb = (struct sk_buff *)ctx[0] };
	struct network_socket *socket = 0;
	struct sock *sk = drop.skb->sk;

	if (bpf_core_field_exists(struct trace_event_raw_kfree_skb, reason))
		drop.reason = ctx[2];
	if (bpf_core_field_exists(struct trace_event_raw_kfree_skb, rx_sk) && ctx[3])
		sk = (struct sock *)ctx[3];
	drop.sk = sk;
	if (!network_drop_seen(&drop, account))
		return 0;
	/* Tracing programs may look into sockets since v5.11, as they know their task. */
	if (sk && bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		socket = bpf_sk_storage_get(&network_sockets, sk, 0, 0);
	if (socket && socket->unclaimed)
		network_claim(socket);
	network_drop_add(&drop, socket, account);
	return 0;
}

/* Without a way from the socket to its owner. */
OBI_TRACEPOINT(skb, kfree_skb, network_drop_tp, struct trace_event_raw_kfree_skb)
{
	struct obi_account *account = OBI_SEEN(network_account);
	struct network_drop drop = { .skb = ctx->skbaddr };
	struct sk_buff *skb = drop.skb;

	if (bpf_core_field_exists(struct trace_event_raw_kfree_skb, reason))
		drop.reason = ctx->reason;
	drop.sk = BPF_CORE_READ(skb, sk);
	if (network_drop_seen(&drop, account))
		network_drop_add(&drop, 0, account);
	return 0;
}

#endif /* OBI_NETWORK_DROPS_H */
