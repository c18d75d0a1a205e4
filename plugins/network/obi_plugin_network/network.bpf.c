/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Packets of the whole node: each once, at the socket that sends or receives it, and so at a process.
 *
 * Attaches: cgroup_skb ingress and egress at the root of cgroup2, or tc at chosen interfaces; sock_create, connect, bind, sockops and
 *           the exits of accept and accept4, which say whose a socket is; skb:kfree_skb; three iterators that user space runs:
 *           network_seed once (sockets that exist already), network_alive and network_sweep at each collection.
 * Emits:    cumulative: network_packets and network_conversation, by owner; network_drops; network_connections: how many are in each
 *           state; network_account; network_lost.
 * Kernel:   5.8; 5.9 to know sockets that nobody creates through a packet; 5.11 for sockets that exist before. Through BCC: 4.18 for
 *           packets, 5.7 for their owners; drops, DNS and connections are CO-RE only.
 * Cost:     per packet one look into the socket and one into a row; for UDP one more into the table of connections.
 * Gaps:     what has no socket (a reset for a closed port and the SYN that it answers, forwarded packets) passes only where tc is
 *           attached.
 */
#include <obi/obi.h>

#include "network_maps.h"
#include "network_packet.h"

#ifdef OBI_BCC
#include "network_cookies.h"
#else
#include "network_census.h"
#include "network_drops.h"
#include "network_entries.h"
#endif
