/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Kernel types and constants: only the fields that OBI reads, each relocated by name at load time.
 *
 * The integer types and the constants serve both builds. The structs are for CO-RE alone: under OBI_BCC none is defined, so a
 * read of a kernel struct fails at build time instead of reading garbage on a node without BTF.
 */
#ifndef OBI_KERNEL_H
#define OBI_KERNEL_H

#ifndef OBI_BCC
typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef signed short __s16;
typedef unsigned int __u32;
typedef signed int __s32;
typedef unsigned long long __u64;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

typedef _Bool bool;
enum { false, true };

/* BPF's own interface (include/uapi/linux/bpf.h). */
enum bpf_map_type_subset {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum { BPF_ANY, BPF_NOEXIST, BPF_EXIST };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_CLONE = 1 << 9 };
enum { BPF_RB_NO_WAKEUP = 1 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { TC_ACT_UNSPEC = -1 };
#endif /* OBI_BCC */

#define OBI_AF_INET 2
#define OBI_AF_INET6 10
#define OBI_IPPROTO_ICMP 1
#define OBI_IPPROTO_IGMP 2
#define OBI_IPPROTO_TCP 6
#define OBI_IPPROTO_UDP 17
#define OBI_IPPROTO_GRE 47
#define OBI_IPPROTO_ESP 50
#define OBI_IPPROTO_ICMPV6 58
#define OBI_IPPROTO_SCTP 132

/* include/uapi/linux/if_ether.h */
#define OBI_ETH_P_IP 0x0800
#define OBI_ETH_P_IPV6 0x86dd

/* include/net/tcp_states.h */
#define OBI_TCP_ESTABLISHED 1
#define OBI_TCP_SYN_SENT 2
#define OBI_TCP_SYN_RECV 3
#define OBI_TCP_FIN_WAIT1 4
#define OBI_TCP_FIN_WAIT2 5
#define OBI_TCP_TIME_WAIT 6
#define OBI_TCP_CLOSE 7
#define OBI_TCP_CLOSE_WAIT 8
#define OBI_TCP_LAST_ACK 9
#define OBI_TCP_LISTEN 10
#define OBI_TCP_CLOSING 11
#define OBI_TCP_NEW_SYN_RECV 12
#define OBI_TCP_STATES 13

/* include/net/tcp_states.h's neighbours: enum tcp_ca_state, ICSK_TIME_LOSS_PROBE */
#define OBI_TCP_CA_RECOVERY 3
#define OBI_TCP_CA_LOSS 4
#define OBI_ICSK_TIME_LOSS_PROBE 5

/* arch/x86/include/asm/thread_info.h, arch/arm64/include/asm/thread_info.h: a 32-bit call, a 32-bit task */
#define OBI_TS_COMPAT 2
#define OBI_TIF_32BIT 22

/* include/uapi/linux/bpf.h: what a sockops program is called for */
#define OBI_SOCK_OPS_ACTIVE_ESTABLISHED 4
#define OBI_SOCK_OPS_PASSIVE_ESTABLISHED 5
#define OBI_SOCK_OPS_TCP_LISTEN 11
#define OBI_SOCK_OPS_RTT 12
#define OBI_SOCK_OPS_RTT_FLAG 8

#ifndef OBI_BCC
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	s64 counter;
} atomic64_t;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie; /* 0: nobody has asked for it yet */
	unsigned long skc_flags;
};

typedef struct {
	int counter;
} atomic_t;

struct qspinlock {
	atomic_t val;
};

typedef struct qspinlock arch_spinlock_t;

struct raw_spinlock {
	arch_spinlock_t raw_lock;
};

struct spinlock {
	struct raw_spinlock rlock;
};

typedef struct spinlock spinlock_t;

typedef struct {
	spinlock_t slock;
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	atomic_t sk_drops;
	int sk_err;
	__u16 sk_protocol;
	__u16 sk_type;
};

struct inet_sock {
	__be16 inet_sport;
};

struct inet_connection_sock {
	__u8 icsk_ca_state : 5;
	__u8 icsk_pending;
};

struct tcp_sock {
	__u32 srtt_us;
	__u32 total_retrans;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
};

struct net_device;

struct sk_buff {
	struct sk_buff *next;
	struct net_device *dev;
	struct sock *sk;
	char cb[48];
	unsigned int len;
	__be16 protocol;
	__u16 network_header;
	__u32 tail; /* like `end` an offset from `head` on 64-bit kernels */
	__u32 end;
	unsigned char *head;
};

struct skb_shared_info {
	unsigned short gso_segs;
	struct sk_buff *frag_list;
};

enum skb_drop_reason {
	SKB_CONSUMED = 1,
	SKB_DROP_REASON_NOT_SPECIFIED,
	SKB_DROP_REASON_OTHERHOST,
	SKB_DROP_REASON_TCP_FLAGS,
	SKB_DROP_REASON_QUEUE_PURGE,
};

/* What a program on tracepoint skb:kfree_skb gets; its layout differs from release to release. */
struct trace_event_raw_kfree_skb {
	void *skbaddr;
	void *rx_sk;
	enum skb_drop_reason reason;
};

struct tcp_skb_cb {
	union {
		struct {
			__u16 tcp_gso_segs;
		};
	};
};

enum sk_rst_reason {
	SK_RST_REASON_NO_SOCKET = 1,
	SK_RST_REASON_TCP_INVALID_ACK_SEQUENCE,
	SK_RST_REASON_TCP_RFC7323_PAWS,
	SK_RST_REASON_TCP_TOO_OLD_ACK,
	SK_RST_REASON_TCP_ACK_UNSENT_DATA,
	SK_RST_REASON_TCP_FLAGS,
	SK_RST_REASON_TCP_OLD_ACK,
	SK_RST_REASON_TCP_ABORT_ON_DATA,
	SK_RST_REASON_INVALID_SYN,
	SK_RST_REASON_TCP_ABORT_ON_CLOSE,
	SK_RST_REASON_TCP_ABORT_ON_LINGER,
	SK_RST_REASON_TCP_ABORT_ON_MEMORY,
	SK_RST_REASON_TCP_STATE,
	SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT,
	SK_RST_REASON_TCP_DISCONNECT_WITH_DATA,
};

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
};

struct bpf_sock_addr {
	__u32 user_port;
	__u32 protocol;
	struct bpf_sock *sk;
};

struct __sk_buff {
	__u32 len;
	__u32 protocol;
	__u32 ifindex;
	__u32 data;
	__u32 data_end;
	__u32 gso_segs;
	__u32 gso_size;
	struct bpf_sock *sk;
};

struct bpf_sock_ops {
	__u32 op;
	__u32 local_port;
	__u32 srtt_us;
	__u32 bpf_sock_ops_cb_flags;
	struct bpf_sock *sk;
};

struct socket {
	struct sock *sk;
};

struct inode {
	unsigned short i_mode;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup_root {
	unsigned int subsys_mask; /* bit per enum cgroup_subsys_id */
	int hierarchy_id; /* 0: v2's */
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

typedef struct {
	long counter;
} atomic_long_t;

struct page_counter {
	atomic_long_t usage;
	unsigned long max;
	struct page_counter *parent;
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
};

struct percpu_counter {
	__s64 count;
};

/* The order of the counters: enum in include/linux/mm_types_task.h. */
struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	struct percpu_counter rss_stat[4];
};

struct mm_rss_stat {
	atomic_long_t count[4];
};

/* Before v6.2, f1a7941243c1 ("mm: convert mm's rss stats into percpu_counter"). */
struct mm_struct___v6_1 {
	struct mm_rss_stat rss_stat;
};

typedef struct {
	unsigned long sig[1];
} sigset_t;

struct sigaction {
	void *sa_handler;
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[64];
};

struct kernel_siginfo {
	int si_signo;
	int si_errno;
	int si_code;
};

struct trace_event_raw_mark_victim {
	__u32 uid;
};

enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
	BPF_FUNC_trace_vprintk = 177,
};

enum cgroup_subsys_id {
	memory_cgrp_id = 4,
};

struct thread_info {
	unsigned long flags;
	__u32 status; /* x86 */
};

struct pt_regs {
	unsigned long orig_ax;
};

/* arm64; libbpf has a flavour of that name */
struct pt_regs___number {
	__s32 syscallno;
};

struct nsproxy {
	struct net *net_ns;
};

struct pid_namespace;

struct upid {
	int nr;
	struct pid_namespace *ns; /* so that numbers[] below has the kernel's stride */
};

struct pid {
	unsigned int level;
	struct upid numbers[1]; /* level + 1 of them */
};

struct linux_binprm {
	const char *filename;
};

struct task_struct {
	struct thread_info thread_info;
	int pid;
	int tgid;
	__u64 start_boottime;
	char comm[16];
	struct task_struct *group_leader;
	struct files_struct *files;
	struct css_set *cgroups;
	struct mm_struct *mm;
	struct sighand_struct *sighand;
	sigset_t blocked;
	sigset_t real_blocked;
	struct nsproxy *nsproxy;
	struct pid *thread_pid;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_map;

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop
#endif /* OBI_BCC */

#endif /* OBI_KERNEL_H */
