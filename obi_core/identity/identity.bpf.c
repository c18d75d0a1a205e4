/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What user space cannot read any more when it hears of a process or a cgroup: names of programs that were longer than comm,
 * command lines and inner process ids of those that have ended, paths of cgroups that lived for moments.
 *
 * Attaches: sched:sched_process_exec, cgroup:cgroup_mkdir (tp_btf).
 * Emits:    identity_names, identity_execs, identity_cgroups: rows that user space looks up, and takes, when it needs one.
 * Kernel:   5.5 for tp_btf. Without it /proc has to do: what has ended by then keeps its comm.
 * Cost:     an LRU update per exec of a program whose name is longer than 15 bytes, or of every one where command lines are asked
 *           for; one per new cgroup. Nothing per call, nothing in user space until a new owner is seen.
 * Gaps:     a program that is not exec'ed (a fork that renames itself) is called what it calls itself.
 */
#include <obi/obi.h>

#ifndef OBI_BCC
#include "identity_cgroup.h"
#include "identity_exec.h"
#endif
