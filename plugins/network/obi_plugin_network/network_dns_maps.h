/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What is kept of DNS: questions that wait, how long answers took, messages that were none. */
#ifndef OBI_NETWORK_DNS_MAPS_H
#define OBI_NETWORK_DNS_MAPS_H

#define NETWORK_DNS_NAME 64
#define NETWORK_DNS_NO_NAME 0xff /* first byte of a name that had no room; no label is so long */
#define NETWORK_DNS_TIMEOUT 0xff /* in place of a code: no answer in time */

/* Bucket layout, in step with `Buckets` in catalogue.py: from 2^-17 s (7.6 us) to 2^7 s. */
#define NETWORK_BUCKETS 96
#define NETWORK_DNS_FIRST (-68)

struct network_dns_key {
	struct obi_owner owner; /* who asked */
	u16 type; /* of the question; 0: none that is told apart */
	u8 error; /* the answer's code, 0 to 15, or NETWORK_DNS_TIMEOUT */
	u8 _pad[5];
	u8 name[NETWORK_DNS_NAME]; /* as in the message, small letters, its last labels; zero unless network_dns_names */
};

_Static_assert(sizeof(struct network_dns_key) == 112, "no hole that would be part of a key");

struct network_durations {
	u64 counts[NETWORK_BUCKETS];
	u64 sum_ns;
};

OBI_HASH(network_dns_duration, struct network_dns_key, struct network_durations, 1024);

/* A new row starts from here: a histogram is too large for the stack. */
OBI_ARRAY(network_zero, u32, struct network_durations, 1);

/* A socket has one question of a number at a time, whichever of its servers answers first. */
struct network_dns_pending_key {
	u64 conversation; /* cookie of the socket; of packets at an interface a hash of addresses and ports */
	u16 id;
	u8 _pad[6];
};

_Static_assert(sizeof(struct network_dns_pending_key) == 16, "no hole that would be part of a key");

struct network_dns_pending {
	u64 start_ns; /* of the first question of this number; monotonic clock; 0: not yet written to its end */
	struct network_dns_key row; /* where it will count, without its error */
};

OBI_HASH(network_dns_inflight, struct network_dns_pending_key, struct network_dns_pending, 4096);

/* Also the order of the names in catalogue.py. */
enum network_dns_anomaly {
	NETWORK_DNS_MALFORMED, /* contradicts itself */
	NETWORK_DNS_RETRANSMITTED, /* asked again while it waited */
	NETWORK_DNS_UNEXPECTED, /* an answer to nothing that waits: a second one, a late one, one that was made up */
};

struct network_dns_anomaly_key {
	struct obi_owner owner;
	u32 anomaly;
	u32 _pad;
};

_Static_assert(sizeof(struct network_dns_anomaly_key) == 48, "no hole that would be part of a key");

OBI_HASH(network_dns_anomalies, struct network_dns_anomaly_key, u64, 512);

/* 1: DNS is measured. */
OBI_SETTING(u32, network_dns, 1);
/* 1: rows keep names apart. */
OBI_SETTING(u32, network_dns_names, 0);
/* How long a question may wait, ns. */
OBI_LIVE(u64, network_dns_timeout_ns);

#endif /* OBI_NETWORK_DNS_MAPS_H */
