/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The map verbs in the CO-RE build; described in maps.h. */
#ifndef OBI_MAPS_CORE_H
#define OBI_MAPS_CORE_H

#define OBI_MAP(map_type, name, key_type, value_type, entries)                                     \
	struct {                                                                                   \
		__uint(type, map_type);                                                            \
		__uint(max_entries, entries);                                                      \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} name SEC(".maps")

#define OBI_HASH(name, key_type, value_type, entries)                                              \
	OBI_MAP(BPF_MAP_TYPE_HASH, name, key_type, value_type, entries)
#define OBI_LRU_HASH(name, key_type, value_type, entries)                                          \
	OBI_MAP(BPF_MAP_TYPE_LRU_HASH, name, key_type, value_type, entries)
#define OBI_PERCPU_HASH(name, key_type, value_type, entries)                                       \
	OBI_MAP(BPF_MAP_TYPE_PERCPU_HASH, name, key_type, value_type, entries)
#define OBI_ARRAY(name, key_type, value_type, entries)                                             \
	OBI_MAP(BPF_MAP_TYPE_ARRAY, name, key_type, value_type, entries)
#define OBI_PERCPU_ARRAY(name, key_type, value_type, entries)                                      \
	OBI_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, name, key_type, value_type, entries)

#define OBI_LOOKUP(map, key) bpf_map_lookup_elem(&(map), key)
#define OBI_UPDATE(map, key, value) bpf_map_update_elem(&(map), key, value, BPF_ANY)
#define OBI_INSERT(map, key, value) bpf_map_update_elem(&(map), key, value, BPF_NOEXIST)
#define OBI_DELETE(map, key) bpf_map_delete_elem(&(map), key)

#define OBI_QUEUE(name, value_type, entries)                                                       \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_QUEUE);                                                  \
		__uint(max_entries, entries);                                                      \
		__type(value, value_type);                                                         \
	} name SEC(".maps")
#define OBI_POP(queue, out) bpf_map_pop_elem(&(queue), out)
#define OBI_PUSH(queue, value) bpf_map_push_elem(&(queue), value, BPF_ANY)

#define OBI_RING(name, bytes)                                                                      \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, bytes);                                                        \
	} name SEC(".maps")
#define OBI_RECORD(name, record_type) record_type *obi_record_##name __attribute__((unused))
#define OBI_EMIT(ring, record)                                                                     \
	bpf_ringbuf_output(&(ring), record, sizeof(*(record)), BPF_RB_NO_WAKEUP)

/* Task storage ends with its thread, so a thread that dies in mid-call leaves nothing behind. */
#define OBI_INFLIGHT(name, value_type, entries)                                                    \
	struct name##_slot {                                                                       \
		value_type value;                                                                  \
		u64 live;                                                                          \
	};                                                                                         \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);                                           \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__type(key, int);                                                                  \
		__type(value, struct name##_slot);                                                 \
	} name SEC(".maps")
#define OBI_START(name, value_ptr)                                                                 \
	({                                                                                         \
		struct name##_slot *_slot = bpf_task_storage_get(                                  \
			&(name), bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);   \
		if (_slot) {                                                                       \
			_slot->value = *(value_ptr);                                               \
			_slot->live = 1;                                                           \
		}                                                                                  \
		_slot != 0;                                                                        \
	})
#define OBI_TAKE(name, out_ptr)                                                                    \
	({                                                                                         \
		struct name##_slot *_slot =                                                        \
			bpf_task_storage_get(&(name), bpf_get_current_task_btf(), 0, 0);           \
		bool _live = _slot && _slot->live;                                                 \
		if (_live) {                                                                       \
			*(out_ptr) = _slot->value;                                                 \
			_slot->live = 0;                                                           \
		}                                                                                  \
		_live;                                                                             \
	})

#endif /* OBI_MAPS_CORE_H */
