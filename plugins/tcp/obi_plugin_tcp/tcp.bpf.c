/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * TCP connections: who opened them, how that ended, how they fared, how long they lived, what they carried.
 *
 * Attaches: sock:inet_sock_set_state, tcp:tcp_{retransmit_skb,retransmit_synack,send_reset,receive_reset} (tp_btf, or the perf
 *           tracepoints); the exits of accept and accept4; sockops on cgroup2 for round-trip times; two iterators that user space
 *           runs: tcp_seed once (sockets that exist already), tcp_refresh at each collection (bytes and drops of open sockets).
 * Emits:    cumulative, by owner: tcp_connects, tcp_handshake_duration, tcp_connection_duration, tcp_rtt, tcp_io, tcp_retransmits,
 *           tcp_resets, tcp_listen_drops; tcp_connections: sockets by state now; tcp_lost; tcp_events: a few records, rate-limited.
 * Kernel:   4.16 for the tracepoints; 5.3 for round-trip times; 5.5 for tp_btf; 5.8 for the iterators and the ring buffer.
 * Cost:     per change of state, retransmit and reset; per segment only the sampled round-trip time. The accept exits put every system call of the machine on the traced path,
 *           as any system call tracepoint does.
 * Gaps:     connects that fail before a SYN is sent (no route, no free port found early) never change state; TIME_WAIT is another
 *           structure in the kernel and is not counted; accepts through io_uring are owned by who closes, or by the listener.
 */
#include <obi/obi.h>

#include "tcp_maps.h"

#ifdef OBI_BCC
#include "tcp_read_args.h"
#else
#include "tcp_read_sock.h"
#endif

#include "tcp_count.h"
#include "tcp_event.h"
#include "tcp_worker.h"

/* Fixed layout of sock:inet_sock_set_state since v5.6 (protocol was one byte before). */
OBI_TRACEPOINT(sock, inet_sock_set_state, tcp_state_tp, struct tcp_state_args)
{
	struct tcp_source source = {};

	if (ctx->protocol != OBI_IPPROTO_TCP)
		return 0;
	tcp_source_of_args(ctx, &source);
	tcp_changed(&source, ctx->oldstate, ctx->newstate);
	return 0;
}

#ifndef OBI_BCC
#include "tcp_entries.h"
#include "tcp_signals.h"
#endif
