/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * One packet, as far as the probe reads it: network header, extension headers, ports.
 *
 * Headers are read in place where they lie in the linear part, and through a helper where they do not. Every loop is bounded. What
 * contradicts itself is marked malformed and keeps what could be read of it.
 */
#ifndef OBI_NETWORK_PACKET_H
#define OBI_NETWORK_PACKET_H

enum network_direction { NETWORK_RECEIVE, NETWORK_TRANSMIT };

/* Also the order of the names in catalogue.py. */
enum network_transport {
	NETWORK_OTHER,
	NETWORK_TCP,
	NETWORK_UDP,
	NETWORK_ICMP,
	NETWORK_ICMP6,
	NETWORK_SCTP,
	NETWORK_IGMP,
	NETWORK_GRE,
	NETWORK_ESP,
	NETWORK_TRANSPORTS,
};

#define NETWORK_TCP_FIN 0x01
#define NETWORK_TCP_SYN 0x02
#define NETWORK_TCP_RST 0x04
#define NETWORK_TCP_ACK 0x10

/* Parts of a datagram: the first has the ports, the others have none. */
enum network_fragment { NETWORK_WHOLE, NETWORK_FIRST_FRAGMENT, NETWORK_LATER_FRAGMENT };

/* IPv6 extension headers that are walked; of a packet with more the transport is not known. */
#define NETWORK_EXTENSIONS 8

struct network_packet {
	u8 source[16]; /* IPv4 is v4-mapped */
	u8 destination[16];
	u64 wire_bytes; /* L3 bytes, with the headers that segmentation repeats */
	u32 l3; /* offset of the network header in the skb */
	u32 l4; /* offset of the transport header */
	u32 payload; /* offset of what follows the transport header; 0: there is none to be found */
	u32 length; /* L3 bytes of the skb */
	u32 segments; /* at least 1 */
	u32 ifindex;
	u16 source_port; /* host order; 0: none */
	u16 destination_port;
	u16 family; /* OBI_AF_INET, OBI_AF_INET6; 0: neither */
	u8 protocol; /* IPPROTO_* of what the packet carries */
	u8 transport; /* enum network_transport */
	u8 direction; /* enum network_direction */
	u8 tcp_flags;
	u8 icmp_type;
	u8 icmp_code;
	u8 fragment; /* enum network_fragment */
	u8 malformed;
	u8 at_interface; /* it comes from tc: no socket says that its connection is established or gone */
	u8 _pad[5];
};

_Static_assert(sizeof(struct network_packet) == 88, "no hole that a copy would leak");

#include "network_parse.h"

#endif /* OBI_NETWORK_PACKET_H */
