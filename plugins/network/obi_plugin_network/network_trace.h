/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A sample of packets, a line each, in the kernel's trace pipe:
 *
 *   obi network receive tcp 192.0.2.1:443 > 192.0.2.2:50000 1500 bytes 1 packets flags 0x10 pid 4711
 *
 * An IPv6 address stands in brackets and in full. Ports are 0 where there are none, the pid where nobody is known to own the socket.
 */
#ifndef OBI_NETWORK_TRACE_H
#define OBI_NETWORK_TRACE_H

#include <obi/trace.h>

#include "network_maps.h"
#include "network_packet.h"

OBI_TRACE(network_trace);

static __always_inline void network_trace_print(const struct network_packet *packet,
						const struct network_socket *socket)
{
	static const char v4[] =
		"obi network %s %s %pI4:%u > %pI4:%u %llu bytes %u packets flags 0x%x pid %u";
	static const char v6[] =
		"obi network %s %s [%pI6]:%u > [%pI6]:%u %llu bytes %u packets flags 0x%x pid %u";
	static const char ways[][9] = { "receive", "transmit" };
	static const char names[][6] = { "other", "tcp",  "udp", "icmp", "icmp6",
					 "sctp",  "igmp", "gre", "esp" };
	u32 mapped = packet->family == OBI_AF_INET ? 12 : 0;
	u32 transport = packet->transport;
	u64 arguments[10];

	if (transport >= NETWORK_TRANSPORTS)
		return;
	arguments[0] = (u64)ways[packet->direction & 1];
	arguments[1] = (u64)names[transport];
	arguments[2] = (u64)(packet->source + mapped);
	arguments[3] = packet->source_port;
	arguments[4] = (u64)(packet->destination + mapped);
	arguments[5] = packet->destination_port;
	arguments[6] = packet->wire_bytes;
	arguments[7] = packet->segments;
	arguments[8] = packet->tcp_flags;
	arguments[9] = socket ? socket->owner.tgid : 0;
	if (mapped)
		bpf_trace_vprintk(v4, sizeof(v4), arguments, sizeof(arguments));
	else
		bpf_trace_vprintk(v6, sizeof(v6), arguments, sizeof(arguments));
}

static __always_inline void network_print(const struct network_packet *packet,
					  const struct network_socket *socket)
{
	u32 choice;

	/* bpf_trace_vprintk: v5.16. */
	if (!network_trace_on ||
	    !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_trace_vprintk))
		return;
	choice = OBI_TRACE_CHOICE(network_trace);
	if (choice == OBI_TRACE_PRINT)
		network_trace_print(packet, socket);
	else if (choice == OBI_TRACE_LIMITED)
		OBI_LOSE(network_lost, NETWORK_LIMITED_TRACE);
}

#endif /* OBI_NETWORK_TRACE_H */
