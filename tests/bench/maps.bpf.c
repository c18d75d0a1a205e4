/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * One count per system call, kept in each kind of map: what maps.py compares.
 *
 * Every program hangs at sys_exit and counts the call under (owner, call). The rows are the same; how they are found is not.
 *   key_*    the 48-byte key is made anew, or stands in task storage, and is hashed
 *   slot_*   task storage knows a number; it is an index, or the 8-byte key of a hash
 */
#include <obi/obi.h>

#define MAPS_OWNERS 1024
#define MAPS_ROWS 8192
#define MAPS_CALLS 256

struct maps_key {
	struct obi_owner owner;
	u64 call;
};

struct maps_pair {
	u32 slot;
	u32 call;
};

struct maps_counts {
	u64 calls[MAPS_CALLS];
};

struct maps_thread {
	struct maps_key key;
	u64 known;
	u32 slot;
	u32 _pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct maps_thread);
} maps_threads SEC(".maps");

OBI_HASH(maps_key_shared, struct maps_key, u64, MAPS_ROWS);
OBI_PERCPU_HASH(maps_key_percpu, struct maps_key, u64, MAPS_ROWS);
OBI_LRU_HASH(maps_key_lru, struct maps_key, u64, MAPS_ROWS);
OBI_HASH(maps_pair_shared, struct maps_pair, u64, MAPS_ROWS);
OBI_PERCPU_HASH(maps_pair_percpu, struct maps_pair, u64, MAPS_ROWS);
OBI_ARRAY(maps_slot_shared, u32, struct maps_counts, MAPS_OWNERS);
OBI_PERCPU_ARRAY(maps_slot_percpu, u32, struct maps_counts, MAPS_OWNERS);

static __always_inline struct maps_thread *maps_thread_of(u64 call)
{
	struct maps_thread *thread = bpf_task_storage_get(&maps_threads, bpf_get_current_task_btf(),
							  0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct obi_owner owner;

	if (!thread)
		return 0;
	if (!thread->known) {
		obi_owner_now(&owner);
		obi_owner_key(&thread->key.owner, &owner);
		thread->slot = obi_hash(owner.cgroup_id ^ *(u64 *)owner.comm) % MAPS_OWNERS;
		thread->known = 1;
	}
	thread->key.call = call;
	return thread;
}

/* The user-space number of the call; what it is called does not matter here. */
static __always_inline u64 maps_call_of(struct pt_regs *regs)
{
	if (bpf_core_field_exists(regs->orig_ax))
		return regs->orig_ax;
	return ((struct pt_regs___arm64 *)regs)->syscallno;
}

#define MAPS_PROGRAM(name)                                                                         \
	SEC("tp_btf/sys_exit") int BPF_PROG(maps_do_##name, struct pt_regs *regs, long result)

/* An own row for each CPU needs no atomic add. */
#define MAPS_ADD_PLAIN(map, key)                                                                   \
	({                                                                                         \
		u64 *_sum = OBI_LOOKUP(map, key), _one = 1;                                        \
		if (_sum)                                                                          \
			*_sum += 1;                                                                \
		else                                                                               \
			OBI_INSERT(map, key, &_one);                                               \
	})

MAPS_PROGRAM(nothing)
{
	return 0;
}

MAPS_PROGRAM(key_new)
{
	struct maps_key key = { .call = maps_call_of(regs) };
	struct obi_owner owner;

	obi_owner_now(&owner);
	obi_owner_key(&key.owner, &owner);
	OBI_ADD(maps_key_shared, &key, 1);
	return 0;
}

#define MAPS_CACHED(name, add)                                                                     \
	MAPS_PROGRAM(name)                                                                         \
	{                                                                                          \
		struct maps_thread *thread = maps_thread_of(maps_call_of(regs));                   \
		if (thread)                                                                        \
			add;                                                                       \
		return 0;                                                                          \
	}

MAPS_CACHED(key_shared, OBI_ADD(maps_key_shared, &thread->key, 1))
MAPS_CACHED(key_percpu, MAPS_ADD_PLAIN(maps_key_percpu, &thread->key))
MAPS_CACHED(key_lru, OBI_ADD(maps_key_lru, &thread->key, 1))

static __always_inline struct maps_pair maps_pair_of(const struct maps_thread *thread)
{
	struct maps_pair pair = { .slot = thread->slot, .call = thread->key.call };

	return pair;
}

MAPS_CACHED(pair_shared, ({
		    struct maps_pair pair = maps_pair_of(thread);
		    OBI_ADD(maps_pair_shared, &pair, 1);
	    }))
MAPS_CACHED(pair_percpu, ({
		    struct maps_pair pair = maps_pair_of(thread);
		    MAPS_ADD_PLAIN(maps_pair_percpu, &pair);
	    }))
MAPS_CACHED(slot_shared, ({
		    struct maps_counts *row = OBI_LOOKUP(maps_slot_shared, &thread->slot);
		    if (row)
			    __sync_fetch_and_add(&row->calls[thread->key.call & 0xff], 1);
	    }))
MAPS_CACHED(slot_percpu, ({
		    struct maps_counts *row = OBI_LOOKUP(maps_slot_percpu, &thread->slot);
		    if (row)
			    row->calls[thread->key.call & 0xff] += 1;
	    }))
