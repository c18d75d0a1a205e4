/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Everything a probe includes, in order: kernel types, helpers, OBI's verbs. */
#ifndef OBI_OBI_H
#define OBI_OBI_H

#include <obi/kernel.h>
#ifndef OBI_BCC
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#endif

#include <obi/maps.h>

#include <obi/settings.h>

#include <obi/account.h>
#include <obi/attribution.h>
#include <obi/entry.h>
#include <obi/histogram.h>
#include <obi/limit.h>
#include <obi/sample.h>

#ifndef OBI_BCC
char LICENSE[] SEC("license") = "Dual BSD/GPL";
#endif

#endif /* OBI_OBI_H */
