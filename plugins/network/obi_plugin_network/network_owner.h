/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Whose a socket is: who made it, who connected it, who accepted it. Kept in the socket itself, so that a packet needs one look.
 *
 * A socket that accept returns was never created by anybody: it begins as a copy of its listener's entry (BPF_F_CLONE), so the
 * listener's owner stands in. When it is established it gets a cookie, by which the exit of accept can name it, and its next packet
 * takes the owner over.
 */
#ifndef OBI_NETWORK_OWNER_H
#define OBI_NETWORK_OWNER_H

#include "network_listeners.h"
#include "network_maps.h"

/* After so many packets without an owner found, only every power of two looks again. */
#define NETWORK_EAGER 1024

static __always_inline u32 network_netns_now(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return bpf_get_current_task_btf()->nsproxy->net_ns->ns.inum;
	return BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), nsproxy, net_ns,
			     ns.inum);
}

static __always_inline void network_own(struct network_socket *socket)
{
	obi_owner_now(&socket->owner);
	socket->netns = network_netns_now();
}

/* In socket(): the current task. */
SEC("cgroup/sock_create")
int network_create(struct bpf_sock *ctx)
{
	struct network_socket *socket;

	if (ctx->family != OBI_AF_INET && ctx->family != OBI_AF_INET6)
		return 1;
	socket = bpf_sk_storage_get(&network_sockets, ctx, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (socket)
		network_own(socket);
	else
		OBI_LOSE(network_lost, NETWORK_LOST_SOCKET);
	return 1;
}

/* In connect(): a socket may have been handed over since it was made. */
static __always_inline int network_dialled(struct bpf_sock_addr *ctx)
{
	struct network_socket *socket;

	if (!ctx->sk)
		return 1;
	socket = bpf_sk_storage_get(&network_sockets, ctx->sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!socket) {
		OBI_LOSE(network_lost, NETWORK_LOST_SOCKET);
		return 1;
	}
	if (socket->owner.tgid != bpf_get_current_pid_tgid() >> 32)
		network_own(socket);
	socket->role = NETWORK_ROLE_CLIENT;
	socket->tracked = 0;
	return 1;
}

SEC("cgroup/connect4")
int network_dial4(struct bpf_sock_addr *ctx)
{
	return network_dialled(ctx);
}

SEC("cgroup/connect6")
int network_dial6(struct bpf_sock_addr *ctx)
{
	return network_dialled(ctx);
}

/* In bind() to a port of the caller's choice: who does that serves there. */
static __always_inline int network_bound(struct bpf_sock_addr *ctx)
{
	struct network_socket *socket;

	if (!ctx->user_port || !ctx->sk)
		return 1;
	socket = bpf_sk_storage_get(&network_sockets, ctx->sk, 0, 0);
	if (socket && socket->role == NETWORK_ROLE_UNKNOWN)
		socket->role = NETWORK_ROLE_SERVER;
	return 1;
}

SEC("cgroup/bind4")
int network_bind4(struct bpf_sock_addr *ctx)
{
	return network_bound(ctx);
}

SEC("cgroup/bind6")
int network_bind6(struct bpf_sock_addr *ctx)
{
	return network_bound(ctx);
}

/* listen(), in its process; and a connection that a listener made, which nobody has accepted yet. */
SEC("sockops")
int network_sockops(struct bpf_sock_ops *ctx)
{
	struct network_socket *socket;
	struct bpf_sock *sk;

	if (ctx->op != OBI_SOCK_OPS_TCP_LISTEN && ctx->op != OBI_SOCK_OPS_PASSIVE_ESTABLISHED)
		return 1;
	sk = ctx->sk;
	if (!sk)
		return 1;
	socket = bpf_sk_storage_get(&network_sockets, sk, 0, 0);
	if (!socket)
		return 1;
	socket->role = NETWORK_ROLE_SERVER;
	socket->listens = ctx->op == OBI_SOCK_OPS_TCP_LISTEN;
	if (socket->listens)
		return 1;
	socket->cookie = bpf_get_socket_cookie(ctx);
	socket->unclaimed = 1;
	socket->tracked = 0;
	return 1;
}

struct network_syscall_exit {
	u64 _common;
	s64 number;
	s64 result;
};

/* A descriptor that the current task just got from accept leads to the socket, and its cookie to the entry. */
static __always_inline int network_accepting(long fd)
{
	struct obi_owner owner;
	struct file *file = 0;
	struct socket *accepted;
	struct file **files;
	u64 cookie;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		files = bpf_get_current_task_btf()->files->fdt->fd;
	else
		files = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), files, fdt, fd);
	if (fd < 0 || bpf_probe_read_kernel(&file, sizeof(file), files + fd))
		return 0;
	/* Only sockets come from accept; one of another family has no cookie, or one that no packet asks for. */
	accepted = BPF_CORE_READ(file, private_data);
	cookie = BPF_CORE_READ(accepted, sk, __sk_common.skc_cookie.counter);
	if (!cookie)
		return 0;
	obi_owner_now(&owner);
	OBI_UPDATE(network_accepted, &cookie, &owner);
	return 0;
}

OBI_TRACEPOINT(syscalls, sys_exit_accept, network_accept, struct network_syscall_exit)
{
	return network_accepting(ctx->result);
}

OBI_TRACEPOINT(syscalls, sys_exit_accept4, network_accept4, struct network_syscall_exit)
{
	return network_accepting(ctx->result);
}

/* Take over who accepted the socket, if somebody has. */
static __always_inline void network_claim(struct network_socket *socket)
{
	u64 cookie = socket->cookie;
	u32 tries = socket->unclaimed++;
	struct obi_owner *owner;

	if (tries > NETWORK_EAGER && (tries & (tries - 1)))
		return;
	owner = OBI_LOOKUP(network_accepted, &cookie);
	if (!owner)
		return;
	socket->owner = *owner;
	socket->unclaimed = 0;
	OBI_DELETE(network_accepted, &cookie);
}

/* The entry of the socket that a packet is sent or received by; 0: none, or no room for one. */
static __always_inline struct network_socket *network_socket_of(struct __sk_buff *ctx)
{
	struct network_socket *socket;
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return 0;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 0;
	socket = bpf_sk_storage_get(&network_sockets, sk, 0, 0);
	if (socket && socket->unclaimed)
		network_claim(socket);
	return socket;
}

#endif /* OBI_NETWORK_OWNER_H */
