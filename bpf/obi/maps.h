/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Map verbs: one source, two loaders.
 *
 * In the CO-RE build the verbs are libbpf's map definitions and helper calls. Under OBI_BCC the source is only preprocessed
 * (clang -E) and the verbs become the method calls that BCC rewrites.
 *
 *   OBI_HASH, OBI_LRU_HASH, OBI_PERCPU_HASH, OBI_ARRAY, OBI_PERCPU_ARRAY (name, key type, value type, entries)
 *   OBI_LOOKUP(map, key)          pointer to the value, or NULL
 *   OBI_UPDATE(map, key, value)   insert or replace; 0 or -errno
 *   OBI_INSERT(map, key, value)   only if absent; 0 or -errno (-EEXIST, -E2BIG when full)
 *   OBI_DELETE(map, key)          0 or -ENOENT
 *   OBI_ADD(map, key, n)          add to a u64 atomically, from 0 if absent; false: the map is full
 *
 *   OBI_QUEUE(name, type, entries)   values that user space put in, first in, first out
 *   OBI_POP(queue, out)              take one; 0, or -ENOENT when it is empty
 *   OBI_PUSH(queue, value)           give one back; 0 or -E2BIG
 *
 *   OBI_RING(name, bytes)         ring buffer; OBI_RECORD(name, type) tells user space what is in it
 *   OBI_EMIT(ring, record)        submit without a wake-up; 0, or -errno when it is full (count that)
 *
 *   OBI_INFLIGHT(name, type, entries)   one value per thread between an entry and its exit
 *   OBI_START(name, value)              remember; false: no memory
 *   OBI_TAKE(name, out)                 take it back; false: nothing was there
 */
#ifndef OBI_MAPS_H
#define OBI_MAPS_H

#ifdef OBI_BCC
#include <obi/maps_bcc.h>
#else
#include <obi/maps_core.h>
#endif

#define OBI_ADD(map, key, n)                                                                       \
	({                                                                                         \
		u64 *_sum = OBI_LOOKUP(map, key);                                                  \
		if (!_sum) {                                                                       \
			u64 _zero = 0;                                                             \
			OBI_INSERT(map, key, &_zero);                                              \
			_sum = OBI_LOOKUP(map, key);                                               \
		}                                                                                  \
		if (_sum)                                                                          \
			__sync_fetch_and_add(_sum, n);                                             \
		_sum != 0;                                                                         \
	})

#endif /* OBI_MAPS_H */
