/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the network probe keeps: whose a socket is, the rows of packets, the account, what was lost. */
#ifndef OBI_NETWORK_MAPS_H
#define OBI_NETWORK_MAPS_H

/* Which end of a conversation the socket is. */
enum network_role { NETWORK_ROLE_UNKNOWN, NETWORK_ROLE_CLIENT, NETWORK_ROLE_SERVER };

/* Places where network_lost counts. */
enum network_loss {
	NETWORK_LOST_ROW, /* packets: network_packets had no room, not even for the row without peer and ports */
	NETWORK_LOST_CONVERSATION, /* packets: counted, but their peer and ports had no room */
	NETWORK_LOST_SOCKET, /* sockets: no room to remember their owner */
	NETWORK_LIMITED_TRACE, /* lines: more sampled packets than the trace may print */
	NETWORK_LOST_DROP, /* dropped packets: network_drops had no room for their reason */
	NETWORK_LOST_QUESTION, /* DNS questions: network_dns_inflight had no room */
	NETWORK_LOST_ANSWER, /* DNS latencies: network_dns_duration had no room for their row */
	NETWORK_LOST_NAME, /* DNS latencies: counted, but their name had no room */
	NETWORK_LOST_ANOMALY, /* DNS messages: network_dns_anomalies had no room for their row */
	NETWORK_LOSSES,
};

/* Lives and ends with its socket; a child of a listener begins with a copy of the listener's. */
struct network_socket {
	struct obi_owner owner;
	u64 cookie; /* 0: nobody has asked for it */
	u32 netns;
	u32 unclaimed; /* packets since it was established and nobody was seen to accept it; 0: it is owned */
	u8 role; /* enum network_role */
	u8 listens;
	u8 tracked; /* its connection is established, or over: its data says nothing to network_tracked */
	u8 _pad[5];
};

_Static_assert(sizeof(struct network_socket) == 64, "one cache line");

#ifndef OBI_BCC
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct network_socket);
} network_sockets SEC(".maps");
#endif

/* Who accepted, by socket cookie, until the socket's next packet takes it. */
OBI_LRU_HASH(network_accepted, u64, struct obi_owner, 4096);

/* Without socket storage (mode bcc): what a socket's storage would hold, by its cookie. */
OBI_LRU_HASH(network_owners, u64, struct network_socket, 16384);

struct network_opening_key {
	u8 local[16];
	u8 peer[16];
	u16 local_port;
	u16 peer_port;
	u8 _pad[4];
};

_Static_assert(sizeof(struct network_opening_key) == 40, "no hole that would be part of a key");

/* There too: the cookie of the listener that a SYN was for, until the connection's own socket is met. */
OBI_LRU_HASH(network_opening, struct network_opening_key, u64, 4096);

struct network_sums {
	u64 packets; /* segments */
	u64 bytes; /* L3 bytes as on the wire */
};

struct network_packets_key {
	struct obi_owner owner; /* zero: no socket, or one that nobody is known to own */
	u32 ifindex; /* 0 unless network_by_interface */
	u32 netns; /* of the interface; 0 unless network_by_interface */
	u16 family;
	u8 transport; /* enum network_transport */
	u8 direction; /* enum network_direction */
	u8 malformed;
	u8 _pad[3];
};

_Static_assert(sizeof(struct network_packets_key) == 56, "no hole that would be part of a key");

OBI_HASH(network_packets, struct network_packets_key, struct network_sums, 4096);

/* Five-tuples, folded as the settings say; a packet is counted here or, without room, in network_packets: never in both. */
struct network_conversation_key {
	struct network_packets_key packets;
	u8 local[16]; /* zero unless network_by_address */
	u8 peer[16];
	u16 local_port; /* 0 unless network_by_port keeps it */
	u16 peer_port;
	u8 _pad[4];
};

_Static_assert(sizeof(struct network_conversation_key) == 96,
	       "no hole that would be part of a key");

OBI_HASH(network_conversation, struct network_conversation_key, struct network_sums, 4096);

/* By process, for the view: written only while somebody looks. */
struct network_process {
	struct network_sums received;
	struct network_sums sent;
};

OBI_LRU_HASH(network_processes, struct obi_owner, struct network_process, 1024);
OBI_LIVE(u32, network_shown);

OBI_ACCOUNT(network_account);
OBI_LOSSES(network_lost, NETWORK_LOSSES);

/* One packet in so many is counted, with that weight. */
OBI_LIVE(u32, network_sample_every);

/* 1: packets over the loopback interface are counted too; else they are filtered. */
OBI_SETTING(u32, network_loopback, 1);
/* 1: rows keep interfaces apart. */
OBI_SETTING(u32, network_by_interface, 0);
/* 1: rows keep local and peer address apart. */
OBI_SETTING(u32, network_by_address, 0);

/* Which ports rows keep apart. */
enum network_ports_kept { NETWORK_PORTS_NONE, NETWORK_PORTS_SERVER, NETWORK_PORTS_ALL };
OBI_SETTING(u32, network_by_port, NETWORK_PORTS_NONE);

/* The node's net.ipv4.ip_local_port_range: tells a server's port where nothing else does. */
OBI_LIVE(u32, network_min_port);
OBI_LIVE(u32, network_max_port);

#endif /* OBI_NETWORK_MAPS_H */
