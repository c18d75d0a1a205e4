/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * System calls: how many, by whom, how they failed, how long they took.
 *
 * Attaches: raw_syscalls:sys_exit for counts and errors; sys_enter too if latency is asked for (tp_btf, or the perf tracepoints);
 *           sched:sched_process_exit for exit and exit_group; one iterator that user space runs once, to learn its own number.
 * Emits:    cumulative, by owner: syscall_calls, syscall_errors, syscall_duration; syscall_account, syscall_lost;
 *           syscall_events: slow calls, rate-limited.
 * Kernel:   4.17 for tracepoints; 5.8 for the iterator and the ring buffer; 5.12 for tp_btf with task storage; 5.15 for exits.
 * Cost:     every system call of the machine; docs/performance.md has the figures.
 * Gaps:     io_uring does its work without system calls. A call that is under way when the probe attaches has no duration. Under
 *           BCC 32-bit calls go by the name that their number has among 64-bit calls, and exits are not counted.
 */
#include <obi/obi.h>

#include "syscall_maps.h"

#include "syscall_count.h"

#ifdef OBI_BCC
#include "syscall_read_args.h"
#else
#include "syscall_read_task.h"
#include "syscall_thread.h"
#endif

#include "syscall_tracepoint.h"
