/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * TCP connections: who opened them, how that ended, how long they lived, what they carried.
 *
 * Attaches: sock:inet_sock_set_state (tp_btf, or the perf tracepoint); the exits of accept and accept4; two iterators that user
 *           space runs: tcp_seed once (sockets that exist already), tcp_refresh at each collection (bytes of open connections).
 * Emits:    tcp_connects, tcp_handshake_duration, tcp_connection_duration, tcp_io: cumulative, by owner; tcp_connections: sockets
 *           by state now; tcp_lost. No event leaves the kernel.
 * Kernel:   4.16 for the tracepoint; 5.5 for tp_btf; 5.8 for the iterators.
 * Cost:     per change of state, nothing per segment. The accept exits put every system call of the machine on the traced path,
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
#endif
