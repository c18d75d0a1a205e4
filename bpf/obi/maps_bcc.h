/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The map verbs for BCC; described in maps.h.
 *
 * This file is only preprocessed. BPF_TABLE and BPF_RINGBUF_OUTPUT are BCC's own macros and stay as they are; BCC's rewriter
 * wants its method calls written out, which they are after clang -E. OBI_CHOOSE(given, otherwise) is the loader's: it is the
 * value that user space gave for this name, or else what the source says.
 */
#ifndef OBI_MAPS_BCC_H
#define OBI_MAPS_BCC_H

#define OBI_ENTRIES(name, entries) OBI_CHOOSE(OBI_ENTRIES_##name, entries)
#define OBI_MAP(map_type, name, key_type, value_type, entries)                                     \
	BPF_TABLE(map_type, key_type, value_type, name, OBI_ENTRIES(name, entries))

#define OBI_HASH(name, key_type, value_type, entries)                                              \
	OBI_MAP("hash", name, key_type, value_type, entries)
#define OBI_LRU_HASH(name, key_type, value_type, entries)                                          \
	OBI_MAP("lru_hash", name, key_type, value_type, entries)
#define OBI_PERCPU_HASH(name, key_type, value_type, entries)                                       \
	OBI_MAP("percpu_hash", name, key_type, value_type, entries)
#define OBI_ARRAY(name, key_type, value_type, entries)                                             \
	OBI_MAP("array", name, key_type, value_type, entries)
#define OBI_PERCPU_ARRAY(name, key_type, value_type, entries)                                      \
	OBI_MAP("percpu_array", name, key_type, value_type, entries)

#define OBI_LOOKUP(map, key) map.lookup(key)
#define OBI_UPDATE(map, key, value) map.update(key, value)
#define OBI_INSERT(map, key, value) map.insert(key, value)
#define OBI_DELETE(map, key) map.delete(key)

#define OBI_QUEUE(name, value_type, entries) BPF_QUEUE(name, value_type, OBI_ENTRIES(name, entries))
#define OBI_POP(queue, out) queue.pop(out)
#define OBI_PUSH(queue, value) queue.push(value, 0)

/* BCC counts in pages. Bytes become a power of two of pages here, as libbpf makes them. */
#define OBI_RING(name, bytes)                                                                      \
	BPF_RINGBUF_OUTPUT(                                                                        \
		name, roundup_pow_of_two((OBI_ENTRIES(name, bytes) + PAGE_SIZE - 1) / PAGE_SIZE))
/* The record's type stands in the BTF of the CO-RE object that is built from the same source. */
#define OBI_RECORD(name, record_type)
#define OBI_EMIT(ring, record) ring.ringbuf_output(record, sizeof(*(record)), BPF_RB_NO_WAKEUP)

/*
 * Kernels without task storage: a thread that dies in mid-call leaves its row, until the map needs the room or another thread
 * of that number starts the same call and overwrites it.
 */
#define OBI_INFLIGHT(name, value_type, entries) OBI_LRU_HASH(name, u64, value_type, entries)
#define OBI_START(name, value_ptr)                                                                 \
	({                                                                                         \
		u64 _thread = bpf_get_current_pid_tgid();                                          \
		OBI_UPDATE(name, &_thread, value_ptr) == 0;                                        \
	})
#define OBI_TAKE(name, out_ptr)                                                                    \
	({                                                                                         \
		u64 _thread = bpf_get_current_pid_tgid();                                          \
		typeof(out_ptr) _value = OBI_LOOKUP(name, &_thread);                               \
		bool _live = _value != 0;                                                          \
		if (_live) {                                                                       \
			*(out_ptr) = *_value;                                                      \
			OBI_DELETE(name, &_thread);                                                \
		}                                                                                  \
		_live;                                                                             \
	})

#endif /* OBI_MAPS_BCC_H */
