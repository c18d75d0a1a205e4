/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Entry points that read kernel structs: CO-RE only. */
#ifndef OBI_TCP_ENTRIES_H
#define OBI_TCP_ENTRIES_H

/* 0: count only; 1: tcp_refresh also writes a row per connection, because somebody looks. */
OBI_LIVE(u32, tcp_rows);

/* tcp_seed runs twice: 1 takes listeners, 2 takes connections (their role is known by who listens). */
OBI_LIVE(u32, tcp_seed_pass);

/* One open connection, for the view. */
struct tcp_row {
	struct obi_owner owner;
	u8 local_address[16];
	u8 peer_address[16];
	u64 id;
	u64 age_ns; /* since established; 0: older than the agent, or not established */
	u64 rx_bytes;
	u64 tx_bytes;
	u32 rtt_us; /* smoothed; 0: never measured */
	u32 retransmits;
	u16 local_port;
	u16 peer_port;
	u8 state;
	u8 role;
	u8 claimed;
	u8 _pad;
};

OBI_RECORD(tcp_refresh, struct tcp_row);

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state_btf, struct sock *sk, int old_state, int new_state)
{
	struct tcp_source source = { .sk = sk, .known = true };

	if (sk->sk_protocol != OBI_IPPROTO_TCP)
		return 0;
	tcp_changed(&source, old_state, new_state);
	return 0;
}

static __always_inline struct sock *tcp_sock_of_file(struct file *file)
{
	struct socket *socket;

	/* include/uapi/linux/stat.h: S_IFMT and S_IFSOCK */
	if ((BPF_CORE_READ(file, f_inode, i_mode) & 0170000) != 0140000)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/* A descriptor that the current task just got from accept: its socket is now owned. */
static __always_inline void tcp_accepted(long fd)
{
	struct file **files;
	struct tcp_socket *socket;
	struct file *file = 0;
	struct socket *accepted;
	u64 id;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		files = bpf_get_current_task_btf()->files->fdt->fd;
	else
		files = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), files, fdt, fd);
	if (fd < 0 || bpf_probe_read_kernel(&file, sizeof(file), files + fd))
		return;
	/* Only sockets come from accept; whatever else is found here is in no row. */
	accepted = BPF_CORE_READ(file, private_data);
	id = (u64)BPF_CORE_READ(accepted, sk);
	socket = OBI_LOOKUP(tcp_sockets, &id);
	if (socket && !socket->claimed)
		tcp_claim(socket);
}

struct tcp_syscall_exit {
	u64 _common;
	s64 number;
	s64 result;
};

OBI_TRACEPOINT(syscalls, sys_exit_accept, tcp_accept, struct tcp_syscall_exit)
{
	tcp_accepted(ctx->result);
	return 0;
}

OBI_TRACEPOINT(syscalls, sys_exit_accept4, tcp_accept4, struct tcp_syscall_exit)
{
	tcp_accepted(ctx->result);
	return 0;
}

static __always_inline void tcp_write_row(struct seq_file *seq, const struct tcp_source *source,
					  const struct tcp_socket *socket)
{
	struct tcp_row row = {};

	row.owner = socket->owner;
	__builtin_memcpy(row.local_address, socket->local_address, 16);
	__builtin_memcpy(row.peer_address, socket->peer_address, 16);
	row.id = (u64)source->sk;
	if (socket->established_ns)
		row.age_ns = bpf_ktime_get_ns() - socket->established_ns;
	tcp_read_bytes(source, &row.rx_bytes, &row.tx_bytes);
	row.rtt_us = tcp_read_rtt_us(source);
	row.retransmits = tcp_read_retransmits(source);
	row.local_port = socket->local_port;
	row.peer_port = socket->peer_port;
	row.state = socket->state;
	row.role = socket->role;
	row.claimed = socket->claimed;
	bpf_seq_write(seq, &row, sizeof(row));
}

static __always_inline void tcp_look(const struct tcp_source *source, struct tcp_socket *socket)
{
	u64 rx, tx;

	if (socket->role == TCP_ROLE_LISTENER) {
		tcp_count_drops(socket, tcp_read_drops(source));
		return;
	}
	tcp_read_bytes_outside(source, &rx, &tx);
	tcp_count_io(socket, rx, tx);
}

/*
 * Walks tcp_sockets: counts the bytes of open connections, writes rows if somebody looks, and drops sockets that closed unseen
 * (the change of state comes before the state itself, so a closed socket that is still here was missed, or is being reopened now:
 * hence the second of grace).
 */
SEC("iter/bpf_map_elem")
int tcp_refresh(struct bpf_iter__bpf_map_elem *ctx)
{
	struct tcp_source source = {};
	struct tcp_socket *socket;
	u64 *key = ctx->key;
	struct sock *sk;
	u64 id;

	if (!key)
		return 0;
	id = *key;
	socket = OBI_LOOKUP(tcp_sockets, &id);
	if (!socket)
		return 0;
	sk = (struct sock *)id;
	source.sk = sk;
	if (socket->closed) {
		if (bpf_ktime_get_ns() - socket->closed_ns > 1000000000ULL) {
			tcp_count_last(socket);
			OBI_DELETE(tcp_sockets, &id);
		}
		return 0;
	}
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == OBI_TCP_CLOSE &&
	    bpf_ktime_get_ns() - socket->opened_ns > 1000000000ULL) {
		tcp_move(socket->state, 0);
		OBI_DELETE(tcp_sockets, &id);
		return 0;
	}
	__sync_fetch_and_add(&socket->reading, 1);
	if (!socket->closed && socket->claimed && socket->id == id)
		tcp_look(&source, socket);
	__sync_fetch_and_add(&socket->reading, -1ULL);
	if (socket->role != TCP_ROLE_LISTENER && OBI_LIVE_GET(u32, tcp_rows))
		tcp_write_row(ctx->meta->seq, &source, socket);
	return 0;
}

/* The socket that was taken in. */
OBI_RECORD(tcp_seed, u64);

/* Walks every open file of every process: sockets that were there before the agent. */
SEC("iter/task_file")
int tcp_seed(struct bpf_iter__task_file *ctx)
{
	struct tcp_socket socket = {};
	struct tcp_source source = {};
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	u32 pass = OBI_LIVE_GET(u32, tcp_seed_pass);
	struct obi_owner listener;
	struct sock *sk;
	u64 id;

	if (!task || !file)
		return 0;
	sk = tcp_sock_of_file(file);
	if (!sk || BPF_CORE_READ(sk, sk_protocol) != OBI_IPPROTO_TCP)
		return 0;
	source.sk = sk;
	tcp_read_endpoints(&source, &socket);
	if (socket.family != OBI_AF_INET && socket.family != OBI_AF_INET6)
		return 0;
	socket.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (socket.state == OBI_TCP_CLOSE || (socket.state == OBI_TCP_LISTEN) != (pass == 1))
		return 0;
	id = tcp_socket_id(&source);
	if (OBI_LOOKUP(tcp_sockets, &id))
		return 0;
	bpf_seq_write(ctx->meta->seq, &id, sizeof(id));
	obi_owner_of(task, &socket.owner);
	socket.seeded = 1;
	socket.opened_ns = bpf_ktime_get_ns();
	if (socket.state == OBI_TCP_LISTEN) {
		socket.drops_counted = tcp_read_drops(&source);
		tcp_listening(id, &socket);
		return 0;
	}
	socket.role = tcp_find_listener(&socket, &listener) ? TCP_ROLE_SERVER : TCP_ROLE_CLIENT;
	socket.claimed = 1;
	tcp_read_bytes(&source, &socket.rx_counted, &socket.tx_counted);
	tcp_remember(id, &socket);
	return 0;
}

#endif /* OBI_TCP_ENTRIES_H */
