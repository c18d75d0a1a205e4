/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Entry points that both builds can have.
 *
 *   OBI_TRACEPOINT(category, event, function, struct context)   perf tracepoint; the context has the kernel's fixed layout
 *   OBI_RAW_TRACEPOINT(event, function)                         raw tracepoint; ctx->args[]
 *
 * Each is followed by the function's body; the context is called `ctx`. Entries that read kernel structs (tp_btf, iter) are
 * written out with SEC() in a header that only the CO-RE build includes.
 *
 * Before a loop of few rounds: OBI_UNROLL, for kernels before 5.3 take no loop. CO-RE programs keep it.
 */
#ifndef OBI_ENTRY_H
#define OBI_ENTRY_H

#ifdef OBI_BCC
#define OBI_UNROLL _Pragma("unroll")
#define OBI_TRACEPOINT(category, event, function, context) int function(context *ctx)
#define OBI_RAW_TRACEPOINT(event, function) int function(struct bpf_raw_tracepoint_args *ctx)
#else
#define OBI_UNROLL
struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

#define OBI_TRACEPOINT(category, event, function, context)                                         \
	SEC("tp/" #category "/" #event) int function(context *ctx)
#define OBI_RAW_TRACEPOINT(event, function)                                                        \
	SEC("raw_tp/" #event) int function(struct bpf_raw_tracepoint_args *ctx)
#endif

#endif /* OBI_ENTRY_H */
