/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* A question in wire format (RFC 1035, section 4.1) → its type and name. Every loop is bounded. */
#ifndef OBI_NETWORK_DNS_PARSE_H
#define OBI_NETWORK_DNS_PARSE_H

#define NETWORK_DNS_LABELS 128
#define NETWORK_DNS_LONGEST 255 /* bytes of a name */

struct network_dns_header {
	__be16 id;
	u8 flags; /* QR, opcode, AA, TC, RD */
	u8 code; /* RA, Z, AD, CD, RCODE */
	__be16 questions;
	__be16 answers;
	__be16 authorities;
	__be16 additions;
};

#define NETWORK_DNS_ANSWER 0x80 /* in flags */

static __always_inline u8 network_dns_opcode(const struct network_dns_header *header)
{
	return header->flags >> 3 & 15;
}

/* Bytes of the label at `at` with its length; 0: not there, or no label (a question has no pointer). */
static __always_inline u32 network_dns_label(struct __sk_buff *ctx, u32 at)
{
	u8 length;

	if (bpf_skb_load_bytes(ctx, at, &length, 1) || length > 63)
		return 0;
	return length + 1;
}

/* Where the name that begins at `start` ends, behind its last byte; 0: it does not. */
static __always_inline u32 network_dns_name_end(struct __sk_buff *ctx, u32 start)
{
	u32 at = start, size;

	for (int i = 0; i < NETWORK_DNS_LABELS; i++) {
		size = network_dns_label(ctx, at);
		at += size;
		if (size <= 1)
			return size && at - start <= NETWORK_DNS_LONGEST ? at : 0;
	}
	return 0;
}

/*
 * Names differ in case by chance: some resolvers draw it by lot, to make answers harder to forge. Eight bytes at a time: the top bit
 * of each says whether it is from A to Z, and two places lower it is the bit that tells small letters.
 */
static __always_inline void network_dns_small_letters(u64 *name)
{
	const u64 ones = 0x0101010101010101ULL;

	for (int i = 0; i < NETWORK_DNS_NAME / 8; i++) {
		u64 low = name[i] & 0x7f * ones;
		u64 from_a = low + (0x80 - 'A') * ones;
		u64 beyond_z = low + (0x7f - 'Z') * ones;

		name[i] |= ((from_a ^ beyond_z) & ~name[i] & 0x80 * ones) >> 2;
	}
}

/*
 * Likewise, and `first` comes to where the name's last labels begin, as many as there is room for: a window that goes over the name,
 * in one loop, for of two the verifier would walk one within the other.
 */
static __always_inline u32 network_dns_window(struct __sk_buff *ctx, u32 start, u32 *first)
{
	u32 at = start, from = start, size = 2;

	for (int i = 0; i < 2 * NETWORK_DNS_LABELS; i++) {
		if (at - from > NETWORK_DNS_NAME) {
			from += network_dns_label(ctx, from);
		} else if (size > 1) {
			size = network_dns_label(ctx, at);
			at += size;
		} else {
			*first = from;
			return size && at - start <= NETWORK_DNS_LONGEST ? at : 0;
		}
	}
	return 0;
}

/* Byte by byte: for a size that varies the verifier would follow each loop above to its end, once for each size. */
static __always_inline void network_dns_copy_name(struct __sk_buff *ctx, u32 first, u32 end,
						  u8 *name)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < NETWORK_DNS_NAME; i++)
		if (first + i < end)
			bpf_skb_load_bytes(ctx, first + i, name + i, 1);
	network_dns_small_letters((u64 *)name);
}

/* Types that are told apart: up to HTTPS, and transfers, ANY, URI and CAA. Who asks for others cannot fill the table. */
static __always_inline u16 network_dns_type(u16 type)
{
	return type <= 65 || (type >= 251 && type <= 257) ? type : 0;
}

/* The one question of a message: what type, and where the part of its name lies that is kept. */
struct network_dns_question {
	u32 first;
	u32 end;
	u16 type;
};

/* Read the question of a message whose header ends at `start`; false: malformed. */
static __always_inline bool network_dns_read(struct __sk_buff *ctx, u32 start,
					     struct network_dns_question *question)
{
	__be16 type_class[2];

	question->first = start;
	question->end = network_dns_names ? network_dns_window(ctx, start, &question->first)
					  : network_dns_name_end(ctx, start);
	if (!question->end ||
	    bpf_skb_load_bytes(ctx, question->end, type_class, sizeof(type_class)))
		return false;
	question->type = network_dns_type(bpf_ntohs(type_class[0]));
	return true;
}

#endif /* OBI_NETWORK_DNS_PARSE_H */
