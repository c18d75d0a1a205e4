/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Who listens where on this node, as network_alive found it: which end of a conversation is the server. */
#ifndef OBI_NETWORK_LISTENERS_H
#define OBI_NETWORK_LISTENERS_H

#include <obi/obi.h>

/* Ports that somebody on this node listens on, with the pass of network_alive that found so. */
struct network_listener_key {
	u16 port;
	u8 transport;
	u8 _pad;
};

OBI_LRU_HASH(network_listeners, struct network_listener_key, u32, 4096);

/* Grows by one with each pass. */
OBI_LIVE(u32, network_pass);

static __always_inline void network_listens(u8 transport, u16 port)
{
	struct network_listener_key key = { .port = port, .transport = transport };
	u32 pass = OBI_LIVE_GET(u32, network_pass);

	OBI_UPDATE(network_listeners, &key, &pass);
}

static __always_inline bool network_listened(u8 transport, u16 port)
{
	struct network_listener_key key = { .port = port, .transport = transport };
	u32 *pass = OBI_LOOKUP(network_listeners, &key);

	/* A pass may be under way: the one before counts too. */
	return pass && OBI_LIVE_GET(u32, network_pass) - *pass <= 1;
}

#endif /* OBI_NETWORK_LISTENERS_H */
